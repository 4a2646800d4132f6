"""Compute the numbers of the interactive charts, which alexlab/reporting/page.js draws.

A chart replaces the image of the report that has its name.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from alexlab.reporting.formatting import is_fraction
from alexlab.reporting.plotting import shades
from alexlab.studies.conditions import Condition
from alexlab.studies.plots import (
    LOGARITHMIC,
    curve_groups,
    diagnostic_groups,
    line_styles,
)
from alexlab.studies.results import Sweep
from alexlab.studies.statistics import Sample

MAX_EPOCHS = 150  # per curve; of a longer curve fewer epochs are kept
MAX_NUMBERS = 60_000  # in the curves of single seeds: more would add over a megabyte to the page
MAX_LAYER_NUMBERS = 90_000  # in all curves of layers, about 7 bytes each; else fewer epochs
MIN_EPOCHS = 20  # per curve of a layer

Chart = dict[str, Any]


def charts(sweep: Sweep, conditions: Sequence[Condition]) -> dict[str, Chart]:
    """Return {image: chart} of the learning curves and of the layers."""
    metrics = list(dict.fromkeys(["loss", sweep.metric]))
    found: dict[str, Chart] = {}
    seeds = sum(len(c.runs) * _length(c) for c in conditions) * 2 * len(metrics) <= MAX_NUMBERS
    for image, _, group in curve_groups(sweep, conditions):
        panels = []
        for metric in metrics:
            for split in ("train", "val"):
                lines = {i: c.curve(f"{split}/{metric}") for i, c in enumerate(group)}
                panels.append(_panel(f"{split} {metric}", metric, lines, row=metric, seeds=seeds))
        looks = line_styles(group)
        found[image] = _chart([c.label for c in group], looks, panels)
    groups = diagnostic_groups(conditions)
    lines_of_layers = sum(len(names) * len(shown) for _, _, names, shown in groups)
    epochs = MAX_LAYER_NUMBERS // (3 * max(1, lines_of_layers))  # mean, low and high
    epochs = min(MAX_EPOCHS, max(MIN_EPOCHS, epochs))
    for image, quantity, names, shown in groups:
        panels = []
        for condition in shown:
            lines = {i: condition.curve(f"diag/{n}/{quantity}") for i, n in enumerate(names)}
            panels.append(_panel(condition.label, quantity, lines, row=quantity, seeds=False))
        looks = [{"color": shade} for shade in shades(len(names))]
        found[image] = _chart(list(names), looks, panels, epochs)
    return {image: chart for image, chart in found.items() if chart["epochs"]}


def _length(condition: Condition) -> int:
    return max((len(next(iter(run.history.values()), [])) for run in condition.runs), default=0)


def _panel(
    title: str, metric: str, lines: Mapping[int, Sample], *, row: str, seeds: bool
) -> dict[str, Any]:
    """Return a panel; `lines` maps the index of a key to values [runs, epochs]."""
    curves = {key: runs for key, runs in lines.items() if runs.size and np.isfinite(runs).any()}
    values = np.concatenate([runs[np.isfinite(runs)] for runs in curves.values()] or [np.ones(1)])
    wide = values.min() > 0 and values.max() / values.min() > LOGARITHMIC
    return {
        "title": title,
        "row": row,
        "percent": is_fraction(metric),
        "log": bool(wide),
        "lines": [{"key": key, **_line(runs, seeds=seeds)} for key, runs in curves.items()],
    }


def _line(runs: Sample, *, seeds: bool) -> dict[str, Any]:
    with warnings.catch_warnings(action="ignore"):  # an epoch that no run has
        line = {"mean": np.nanmean(runs, 0), "low": np.nanmin(runs, 0), "high": np.nanmax(runs, 0)}
    return line | ({"seeds": list(runs)} if seeds and len(runs) > 1 else {})


def _chart(
    keys: Sequence[str],
    looks: Sequence[Mapping[str, Any]],
    panels: Sequence[Chart],
    most: int = MAX_EPOCHS,
) -> Chart:
    longest = max((len(line["mean"]) for p in panels for line in p["lines"]), default=0)
    kept = np.unique(np.linspace(0, longest - 1, min(longest, most)).round().astype(np.int64))
    for panel in panels:
        for line in panel["lines"]:
            for name in ("mean", "low", "high"):
                line[name] = _numbers(line[name], kept)
            if "seeds" in line:
                line["seeds"] = [_numbers(seed, kept) for seed in line["seeds"]]
    return {
        "epochs": (kept + 1).tolist(),
        "keys": list(keys),
        "colours": [to_hex(look["color"]) for look in looks],
        "dashes": [_dash(look.get("linestyle", "-")) for look in looks],
        "panels": list(panels),
    }


def _numbers(curve: Sample, kept: NDArray[np.int64]) -> list[float | None]:
    values = [float(curve[i]) if i < len(curve) else math.nan for i in kept.tolist()]
    return [float(f"{v:.4g}") if math.isfinite(v) else None for v in values]


def _dash(style: Any) -> str:
    """Convert a line style of matplotlib to an SVG dash array."""
    return "" if isinstance(style, str) else " ".join(f"{3 * length:g}" for length in style[1])
