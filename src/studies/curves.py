"""Learning curves, and what went on inside the layers, over epochs."""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from src.studies.cells import Cell
from src.studies.figures import figure, legend, looks, parts, shades
from src.studies.metrics import is_fraction
from src.studies.statistics import Sample
from src.studies.sweep import Sweep
from src.studies.tables import title

LOGARITHMIC = 30  # a range of values this wide is shown on a log axis
QUANTITIES = {
    "grad_norm": "norm of the gradient",
    "update_ratio": "size of an update / weights",
    "act_mean": "mean activation",
    "act_std": "spread (std) of activations",
    "dead": "share of dead units",
    "saturated": "share of saturated units",
    "sparse": "share of zeros",
}
MOST_PANELS, WIDE_TITLE = 6, 22  # cells; letters of which three fit side by side


def learning_curves(sweep: Sweep, cells: Sequence[Cell], folder: Path) -> list[tuple[str, str]]:
    """Loss and metric on train and val; [(file, what it shows)]."""
    drawn = []
    metrics = list(dict.fromkeys(["loss", sweep.metric]))
    for name, group in parts(sweep, [cell for cell in cells if cell.runs]).items():
        slug = re.sub(r"[^a-z0-9]+", "-", f"curves {name}".strip().lower())
        path = folder / f"{slug}.png"
        with figure(path, 0.4 + 2.2 * len(metrics)) as page:
            axes = page.subplots(len(metrics), 2, sharex=True, sharey="row", squeeze=False)
            for row, metric in zip(axes, metrics, strict=True):
                scale = 100 if is_fraction(metric) else 1
                for ax, split in zip(row, ("train", "val"), strict=True):
                    for cell, look in zip(group, looks(group), strict=True):
                        runs = cell.curve(f"{split}/{metric}") * scale
                        _band(ax, runs, cell.label, look)
                    ax.set_title(f"{split} {metric}", loc="left")
                row[0].set_ylabel(title(metric))
                _stretch(row[0])
            for ax in axes[-1]:
                ax.set_xlabel("epoch")
                ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            legend(page, axes[0, 0])
        which = f"Learning curves, {name}" if name else "Learning curves"
        drawn.append((path.name, f"{which}: mean over seeds, and the band from lowest to highest."))
    return drawn


def _band(ax: Axes, runs: Sample, label: str, look: Mapping[str, Any]) -> None:
    """The mean of `runs` [runs, epochs], and their range."""
    if not _has(runs):
        return
    epochs = np.arange(1, runs.shape[1] + 1)
    with warnings.catch_warnings(action="ignore"):  # an epoch that no run has
        mean, low, high = np.nanmean(runs, 0), np.nanmin(runs, 0), np.nanmax(runs, 0)
    ax.plot(epochs, mean, label=label, marker="o" if len(epochs) == 1 else "", **look)
    ax.fill_between(epochs, low, high, color=look["color"], alpha=0.15, linewidth=0)


def _has(runs: Sample) -> bool:
    return bool(np.isfinite(runs).any())


def _stretch(ax: Axes) -> None:
    """A log axis for positive values over a wide range."""
    lines = [np.asarray(line.get_ydata(), float) for line in ax.lines]
    values = np.concatenate([line[np.isfinite(line)] for line in lines] or [np.ones(1)])
    if len(values) and values.min() > 0 and values.max() / values.min() > LOGARITHMIC:
        ax.set_yscale("log")


def diagnostics(cells: Sequence[Cell], folder: Path) -> list[tuple[str, str]]:
    """One figure a quantity of `diag/<layer>/<quantity>`, one panel a cell, one line a layer."""
    shown = [cell for cell in cells if cell.runs][:MOST_PANELS]
    layers: dict[str, list[str]] = {}
    for column in dict.fromkeys(c for cell in shown for run in cell.runs for c in run.history):
        if column.startswith("diag/"):
            _, layer, quantity = column.split("/")
            layers.setdefault(quantity, []).append(layer)
    drawn = []
    for quantity, names in layers.items():
        group = [c for c in shown if any(_has(c.curve(f"diag/{n}/{quantity}")) for n in names)]
        if group:
            drawn.append(_layers(quantity, names, group, folder))
    return drawn


def _layers(
    quantity: str, names: Sequence[str], cells: Sequence[Cell], folder: Path
) -> tuple[str, str]:
    wide = min(len(cells), 2 if any(len(cell.label) > WIDE_TITLE for cell in cells) else 3)
    high = -(-len(cells) // wide)
    path, what = folder / f"diag-{quantity}.png", QUANTITIES.get(quantity, quantity)
    with figure(path, 0.7 + 1.9 * high) as page:
        axes = page.subplots(high, wide, sharex=True, sharey=True, squeeze=False)
        for ax, cell in zip(axes.flat, cells, strict=False):
            for layer, shade in zip(names, shades(len(names)), strict=True):
                _band(ax, cell.curve(f"diag/{layer}/{quantity}"), layer, {"color": shade})
            ax.set_title(cell.label, loc="left")
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            if quantity in ("grad_norm", "update_ratio"):
                _stretch(ax)
        for ax in list(axes.flat)[len(cells) :]:
            ax.set_visible(False)
        page.supxlabel("epoch", fontsize="medium")
        page.supylabel(what, fontsize="medium")
        legend(page, axes[0, 0])
    return path.name, f"{what.capitalize()}, by layer: mean over seeds, and their range."
