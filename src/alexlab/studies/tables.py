"""Write tables of the conditions of a sweep, in Markdown and as CSV."""

import math
from collections.abc import Sequence

from alexlab.reporting.formatting import format_metric, is_difference, is_fraction
from alexlab.reporting.markdown import escape, markdown
from alexlab.runs.folder import csv_text
from alexlab.studies.conditions import Condition, Spread
from alexlab.studies.results import Sweep

COSTS = {
    "best_epoch": "best epoch",
    "wall_s": "time, s",
    "images_per_s": "images/s",
    "peak_rss_mb": "peak memory, MB",
    "peak_gpu_mb": "peak GPU memory, MB",
}


def title(metric: str) -> str:
    """Return the name of a metric with its unit, for the head of a column or an axis."""
    unit = "points" if is_difference(metric) else "%"
    return COSTS.get(metric) or metric.replace("/", " ") + f", {unit}" * is_fraction(metric)


def results(
    conditions: Sequence[Condition], metrics: Sequence[str], missing: Sequence[str] = ()
) -> str:
    """Return a table of mean ± standard deviation and interval; n counts finished runs.

    `missing` are conditions of the study that this sweep lacks.
    """
    rows = []
    for condition in conditions:
        of = f" of {condition.planned}" * (len(condition.runs) < condition.planned)
        rows.append(
            [
                escape(condition.label),
                f"{len(condition.runs)}{of}",
                *(_mean(condition, metric) for metric in metrics),
            ]
        )
    rows += [[escape(label), "not run", *[""] * len(metrics)] for label in missing]
    return markdown(["", "n", *map(title, metrics)], rows)


def _mean(condition: Condition, metric: str) -> str:
    spread = condition.spread(metric)
    mean, sd, low, high = (
        format_metric(metric, v, unit=False, like=spread.mean) for v in spread[1:]
    )
    if math.isnan(spread.sd):
        return mean
    return f"{mean} ± {sd}" + f" ({low} to {high})" * (not math.isnan(spread.low))


def costs(conditions: Sequence[Condition]) -> str:
    """Return a table of mean costs per condition, test-time crops included."""
    names = dict.fromkeys(
        n for condition in conditions for run in condition.runs for n in run.record["metrics"]
    )
    metrics = [*COSTS, *(name for name in names if name.startswith("test/seconds"))]
    metrics = [
        metric
        for metric in metrics
        if any(len(condition.numbers(metric)) for condition in conditions)
    ]
    rows = [
        [escape(c.label), *(format_metric(w, c.spread(w).mean, unit=False) for w in metrics)]
        for c in conditions
    ]
    return markdown(["", *map(title, metrics)], rows)


def summary_csv(sweep: Sweep, conditions: Sequence[Condition], metrics: Sequence[str]) -> str:
    """Return the text of summary.csv: per condition the axes, numbers of runs and `Spread`s."""
    metrics = [*metrics, *COSTS]
    names = (f"{metric} {part}" for metric in metrics for part in Spread._fields)
    rows = [[*sweep.axes, "finished", "planned", *names]]
    for condition in conditions:
        values = (value for metric in metrics for value in condition.spread(metric))
        numbers = ("" if math.isnan(value) else f"{value:.6g}" for value in values)
        counts = str(len(condition.runs)), str(condition.planned)
        rows.append([*condition.values.values(), *counts, *numbers])
    return csv_text(rows)
