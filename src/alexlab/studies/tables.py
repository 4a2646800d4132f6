"""Tables of a sweep's cells, in Markdown and as CSV."""

import csv
import io
import math
from collections.abc import Sequence

from alexlab.reporting.formatting import format_value, is_fraction
from alexlab.reporting.markdown import markdown
from alexlab.studies.conditions import Condition, Spread
from alexlab.studies.results import Sweep

COSTS = {
    "best_epoch": "best epoch",
    "wall_s": "time, s",
    "images_per_s": "images/s",
    "peak_rss_mb": "peak memory, MB",
    "peak_gpu_mb": "peak GPU memory, MB",
}


def title(word: str) -> str:
    """A metric's name with its unit, for the head of a column or an axis."""
    unit = "points" if word.startswith(("wobble", "gap")) else "%"
    return COSTS.get(word) or word.replace("/", " ") + f", {unit}" * is_fraction(word)


def results(cells: Sequence[Condition], words: Sequence[str], missing: Sequence[str] = ()) -> str:
    """Mean ± standard deviation and the interval of each word; n is what finished.

    `missing` are cells that the study has, and this sweep has not.
    """
    rows = []
    for cell in cells:
        of = f" of {cell.planned}" * (len(cell.runs) < cell.planned)
        rows.append([cell.label, f"{len(cell.runs)}{of}", *(_mean(cell, word) for word in words)])
    rows += [[label, "not run", *[""] * len(words)] for label in missing]
    return markdown(["", "n", *map(title, words)], rows)


def _mean(cell: Condition, word: str) -> str:
    found = cell.spread(word)
    mean, sd, low, high = (format_value(word, v, unit=False, like=found.mean) for v in found[1:])
    return mean if math.isnan(found.sd) else f"{mean} ± {sd} ({low} to {high})"


def costs(cells: Sequence[Condition]) -> str:
    """Means of what the cells took, test-time crops included."""
    names = dict.fromkeys(n for cell in cells for run in cell.runs for n in run.record["metrics"])
    words = [*COSTS, *(name for name in names if name.startswith("test/seconds"))]
    words = [word for word in words if any(len(cell.numbers(word)) for cell in cells)]
    rows = [
        [c.label, *(format_value(w, c.spread(w).mean, unit=False) for w in words)] for c in cells
    ]
    return markdown(["", *map(title, words)], rows)


def summary_csv(sweep: Sweep, cells: Sequence[Condition], words: Sequence[str]) -> str:
    """One row a cell: its axes, runs finished and planned, and five numbers a metric."""
    text = io.StringIO()
    words = [*words, *COSTS]
    writer = csv.writer(text, lineterminator="\n")
    names = (f"{word} {part}" for word in words for part in Spread._fields)
    writer.writerow([*sweep.axes, "finished", "planned", *names])
    for cell in cells:
        found = (number for word in words for number in cell.spread(word))
        numbers = ("" if math.isnan(number) else f"{number:.6g}" for number in found)
        writer.writerow([*cell.values.values(), len(cell.runs), cell.planned, *numbers])
    return text.getvalue()
