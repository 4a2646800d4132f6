"""Draw the figures of an evaluation: confusion, reliability, residuals, crops, galleries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter
from torch import Tensor

from alexlab.data.decode import DEFAULT_WHITE, White, to_rgb, to_square
from alexlab.reporting.plotting import COLOURS, logarithmic

COLUMNS, LINES = 5, 4  # of the gallery of all mistakes
CLASSES = 20  # rows of the gallery by class: the classes with most mistakes

Rows = Mapping[str, Sequence[tuple[Path, str]]]
"""{name of a row: (image file, text under it) of its images}."""


@dataclass(frozen=True)
class Predictions:
    """Predictions for N images."""

    paths: Sequence[Path]
    targets: Tensor  # class [N] int64, or score [N] float32
    predictions: Tensor  # probabilities [N, K], or scores [N, 1]
    classes: Sequence[str]  # K names; empty for scores
    fit: str  # how an image becomes square: crop or squash
    white: White = DEFAULT_WHITE  # for files of more than 8 bits

    def mistakes(self, of: int | None = None) -> list[int]:
        """Return the indices of misclassified images (`of` one class), most confident first."""
        confidence, preds = self.predictions.max(1)
        wrong = preds != self.targets
        return _largest(confidence, wrong if of is None else wrong & (self.targets == of))

    def errors(self, sign: int) -> list[int]:
        """Return the indices of images with a score too high (`sign` 1) or too low, worst first."""
        error = sign * (self.predictions[:, 0] - self.targets)
        return _largest(error, error > 0)

    def describe(self, i: int) -> dict[str, str | float]:
        """Describe one image: path, truth, prediction, confidence."""
        path = str(self.paths[i]).encode(errors="backslashreplace").decode()  # may not be Unicode
        target = self.targets[i].item()
        if not self.classes:
            return {"path": path, "true": target, "predicted": self.predictions[i, 0].item()}
        confidence, pred = self.predictions[i].max(0)
        names = {"true": self.classes[int(target)], "predicted": self.classes[int(pred)]}
        return {"path": path, **names, "confidence": confidence.item()}

    def worst(self) -> list[dict[str, str | float]]:
        """Describe the images of the gallery of all mistakes, or of errors."""
        if self.classes:
            rows = self.mistakes()[: COLUMNS * LINES]
        else:
            rows = [*self.errors(1)[:COLUMNS], *self.errors(-1)[:COLUMNS]]
        return [self.describe(i) for i in rows]

    def galleries(self) -> dict[str, Rows]:
        """Return the galleries as {file name without .png: rows}."""
        if not self.classes:
            form = "{predicted:.1f}, not {true:.1f}"
            both = {"too high": self.errors(1), "too low": self.errors(-1)}
            return {"errors": {name: self._row(rows, form) for name, rows in both.items()}}
        every, form = self.mistakes(), "{predicted} {confidence:.0%}"
        lines = [every[i : i + COLUMNS] for i in range(0, len(every), COLUMNS)][:LINES]
        of = [(name, self.mistakes(k)) for k, name in enumerate(self.classes)]
        most = sorted(sorted(of, key=lambda c: -len(c[1]))[:CLASSES])
        return {
            "mistakes": {" " * i: self._row(row, "{true}\n" + form) for i, row in enumerate(lines)},
            "mistakes_by_class": {name: self._row(rows, form) for name, rows in most},
        }

    def _row(self, rows: Sequence[int], form: str) -> list[tuple[Path, str]]:
        return [(self.paths[i], form.format(**self.describe(i))) for i in rows[:COLUMNS]]


def _largest(values: Tensor, among: Tensor) -> list[int]:
    rows = torch.nonzero(among)[:, 0]
    order: list[int] = rows[values[rows].argsort(descending=True, stable=True)].tolist()
    return order


BLUE, RED, GREY, PALE = COLOURS[0], COLOURS[1], "#8a8a8a", "#a9cbe3"
FEW = 10  # images: an accuracy of fewer is drawn pale, as uncertain
THUMBNAIL = 144  # pixels: side of an image in a gallery
WRITTEN = 20  # classes: with more, the cells of the confusion matrix have no numbers


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Draw the confusion matrix: true classes in rows, predicted in columns, shares of a row."""
    counts = np.array(matrix)
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    side = min(12.0, 2.2 + 0.55 * len(classes))
    figure = Figure((side + 0.6, side), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(False)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(classes)) if len(classes) <= 60 else []
    axes.set_xticks(ticks, [classes[i] for i in ticks], rotation=45, ha="right")
    axes.set_yticks(ticks, [classes[i] for i in ticks])
    axes.set(
        xlabel="predicted", ylabel="shown", title="Images of each class, by what was predicted"
    )
    for row, column in np.ndindex(*counts.shape) if len(classes) <= WRITTEN else ():
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    figure.colorbar(picture, shrink=0.75, label="share of the row")
    return figure


def reliability(found: Mapping[str, Any]) -> Figure:
    """Draw accuracy against confidence, and the number of images per bin."""
    bins = len(found["accuracy"])
    middles = (np.arange(bins) + 0.5) / bins
    accuracy, confidence = (np.array(found[k], float) for k in ("accuracy", "confidence"))
    figure = Figure((5, 4.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    colours = [BLUE if n >= FEW else PALE for n in found["images"]]
    upper.bar(middles, accuracy, 0.9 / bins, color=colours)
    upper.bar([0], [0], color=BLUE, label="accuracy")
    upper.bar([0], [0], color=PALE, label=f"of fewer than {FEW} images")
    upper.plot(confidence, confidence, "_", color=RED, markersize=12, label="mean confidence")
    upper.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
    upper.set(ylabel="accuracy", ylim=(0, 1), title="Reliability")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    lower.bar(middles, found["images"], 0.9 / bins, color=GREY)
    lower.set(xlabel="confidence", ylabel="images", xlim=(0, 1))
    return figure


def residuals(scores: Sequence[float], targets: Sequence[float]) -> Figure:
    """Draw predicted against true scores, and the distribution of their differences."""
    truth, predicted = np.array(targets), np.array(scores)
    figure = Figure((8.6, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
    ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    left.plot(ends, ends, "--", color=GREY, linewidth=1)
    left.plot(truth, predicted, "o", color=BLUE, alpha=0.5, markersize=4, markeredgewidth=0)
    left.set(xlabel="true score", ylabel="predicted score", title="Scores", aspect="equal")
    right.hist(predicted - truth, 25, color=BLUE)
    right.axvline(0, color=GREY, linestyle="--", linewidth=1)
    right.set(xlabel="predicted - true", ylabel="images", title="Residuals")
    return figure


def crops(rows: Sequence[Mapping[str, Any]], metric: str, name: str) -> Figure:
    """Draw the metric of each number of crops, with its interval, against the time."""
    figure = Figure((5, 3.2), layout="constrained")
    axes = figure.add_subplot()
    seconds = [row["seconds"] for row in rows]
    values = [row[metric]["value"] for row in rows]
    ends = np.array([row[metric]["interval"] for row in rows], float).T
    axes.errorbar(seconds, values, abs(ends - values), fmt="o-", color=BLUE, capsize=3)
    for row, x, y in zip(rows, seconds, values, strict=True):
        axes.annotate(f"{row['crops']}", (x, y), textcoords="offset points", xytext=(6, 5))
    logarithmic(axes, "x")
    axes.set_xticks(seconds, [f"{s:.3g}" for s in seconds])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.15)
    axes.set(
        xlabel="seconds for all images", ylabel=name, title="Views of each image: gain and cost"
    )
    if metric == "acc":
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def gallery(
    rows: Mapping[str, Sequence[tuple[Path, str]]], columns: int, fit: str, white: White
) -> Figure:
    """Draw rows of images, with a text under each image and the name of the row at the left.

    Args:
        rows: {name: (image file, text)}: at most `columns` images per row, not all rows empty.
        columns: Number of columns.
        fit: How an image becomes square: crop or squash.
        white: Values that become 255 in grey images of more than 8 bits.
    """
    rows = {name: images for name, images in rows.items() if images}
    figure = Figure((1.05 * columns, 1.35 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        line[0].set_ylabel(name, weight="bold")
        for axes, (path, text) in zip(line, images, strict=False):
            image = to_rgb(path.read_bytes(), white).image
            axes.imshow(to_square(image, THUMBNAIL, fit).transpose(1, 2, 0))
            axes.set_xlabel(text, fontsize=7.5)
    return figure
