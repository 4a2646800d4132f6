"""Draw the plots of a report: learning curves, layers, conditions, answers, searches."""

import math
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alexlab.reporting.formatting import format_metric, is_difference, is_fraction
from alexlab.reporting.markdown import escape, markdown
from alexlab.reporting.plotting import (
    COLOURS,
    DASHES,
    figure,
    legend,
    logarithmic,
    numbered,
    shades,
)
from alexlab.studies.answers import ClaimAnswer
from alexlab.studies.conditions import Condition
from alexlab.studies.metrics import parse_metric
from alexlab.studies.results import Run, Sweep, is_number
from alexlab.studies.statistics import ANSWERS, Sample
from alexlab.studies.tables import title
from alexlab.studies.validity import read_gate
from alexlab.studies.wording import clipped

LOGARITHMIC = 30  # ratio of the largest to the smallest value above which an axis is logarithmic
QUANTITIES = {
    "grad_norm": "norm of the gradient",
    "update_ratio": "size of an update / weights",
    "act_mean": "mean activation",
    "act_std": "spread (std) of activations",
    "dead": "share of dead units",
    "saturated": "share of saturated units",
    "sparse": "share of zeros",
}
MAX_PANELS, WIDE_TITLE = 6, 22  # conditions; letters in a title, of which three fit in a row


def learning_curves(
    sweep: Sweep, conditions: Sequence[Condition], folder: Path
) -> list[tuple[str, str]]:
    """Draw the loss and the metric on train and val; return [(file, caption)]."""
    drawn = []
    metrics = list(dict.fromkeys(["loss", sweep.metric]))
    for file, name, group in curve_groups(sweep, conditions):
        path = folder / file
        with figure(path, 0.4 + 2.2 * len(metrics)) as page:
            axes = page.subplots(len(metrics), 2, sharex=True, sharey="row", squeeze=False)
            for row, metric in zip(axes, metrics, strict=True):
                scale = 100 if is_fraction(metric) else 1
                for ax, split in zip(row, ("train", "val"), strict=True):
                    for condition, look in zip(group, line_styles(group), strict=True):
                        runs = condition.curve(f"{split}/{metric}") * scale
                        _band(ax, runs, condition.label, look)
                    ax.set_title(f"{split} {metric}", loc="left")
                row[0].set_ylabel(title(metric))
                _stretch(row[0])
            for ax in axes[-1]:
                ax.set_xlabel("epoch")
                ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            legend(page, axes[0, 0])
        which = f"Learning curves, {name}" if name else "Learning curves"
        text = f"{which}: mean over seeds, and the band from lowest to highest."
        drawn.append((path.name, text + key(page)))
    return drawn


def curve_groups(
    sweep: Sweep, conditions: Sequence[Condition]
) -> list[tuple[str, str, Sequence[Condition]]]:
    """Return (file, name, conditions) of each figure of learning curves."""
    shown = [condition for condition in conditions if condition.runs]
    groups = split_into_figures(sweep, shown)
    slugs = (re.sub(r"[^a-z0-9]+", "-", f"curves {name}".strip().lower()) for name in groups)
    return [
        (f"{slug}.png", name, group)
        for slug, (name, group) in zip(slugs, groups.items(), strict=True)
    ]


def _band(ax: Axes, runs: Sample, label: str, look: Mapping[str, Any]) -> None:
    """Draw the mean of `runs` [runs, epochs] and their range."""
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
    """Make the y axis logarithmic for positive values over a wide range."""
    lines = [np.asarray(line.get_ydata(), float) for line in ax.lines]
    values = np.concatenate([line[np.isfinite(line)] for line in lines] or [np.ones(1)])
    if len(values) and values.min() > 0 and values.max() / values.min() > LOGARITHMIC:
        logarithmic(ax, "y")


def diagnostics(conditions: Sequence[Condition], folder: Path) -> list[tuple[str, str]]:
    """Draw `diag/<layer>/<quantity>`: one figure per quantity, one panel per condition."""
    return [
        _layers(folder / file, quantity, names, group)
        for file, quantity, names, group in diagnostic_groups(conditions)
    ]


def diagnostic_groups(
    conditions: Sequence[Condition],
) -> list[tuple[str, str, Sequence[str], Sequence[Condition]]]:
    """Return (file, quantity, layers, conditions) of each figure of diagnostics."""
    shown = [condition for condition in conditions if condition.runs][:MAX_PANELS]
    layers: dict[str, list[str]] = {}
    for column in dict.fromkeys(
        c for condition in shown for run in condition.runs for c in run.history
    ):
        if column.startswith("diag/"):
            _, layer, quantity = column.split("/")
            layers.setdefault(quantity, []).append(layer)
    found: list[tuple[str, str, Sequence[str], Sequence[Condition]]] = []
    for quantity, names in layers.items():
        group = [c for c in shown if any(_has(c.curve(f"diag/{n}/{quantity}")) for n in names)]
        if group:
            found.append((f"diag-{quantity}.png", quantity, names, group))
    return found


def _layers(
    path: Path, quantity: str, names: Sequence[str], conditions: Sequence[Condition]
) -> tuple[str, str]:
    wide = min(
        len(conditions),
        2 if any(len(condition.label) > WIDE_TITLE for condition in conditions) else 3,
    )
    high = -(-len(conditions) // wide)
    what = QUANTITIES.get(quantity, quantity)
    with figure(path, 0.7 + 1.9 * high) as page:
        axes = page.subplots(high, wide, sharex=True, sharey=True, squeeze=False)
        for ax, condition in zip(axes.flat, conditions, strict=False):
            for layer, shade in zip(names, shades(len(names)), strict=True):
                _band(ax, condition.curve(f"diag/{layer}/{quantity}"), layer, {"color": shade})
            ax.set_title(condition.label, loc="left")
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            if quantity in ("grad_norm", "update_ratio"):
                _stretch(ax)
        for ax in list(axes.flat)[len(conditions) :]:
            ax.set_visible(False)
        page.supxlabel("epoch", fontsize="medium")
        page.supylabel(what, fontsize="medium")
        legend(page, axes[0, 0])
    return path.name, f"{what.capitalize()}, by layer: mean over seeds, and their range.{key(page)}"


def key(page: Figure) -> str:
    """Return the end of a caption that explains numbers in place of words; see `numbered`."""
    return f" {escape(numbers)}." if (numbers := numbered(page)) else ""


TONES = dict(zip(ANSWERS, [COLOURS[2], COLOURS[1], COLOURS[0], "#777777", "#bbbbbb"], strict=True))


def conditions_chart(
    sweep: Sweep, conditions: Sequence[Condition], metric: str, folder: Path
) -> tuple[str, str]:
    """Draw each seed as a dot, and each condition as a mean with its interval."""
    rows = [condition for condition in conditions if len(condition.numbers(metric))]
    path = folder / f"conditions-{re.sub(r'[^a-z0-9]+', '-', metric.lower())}.png"
    scale = 100 if is_fraction(metric) else 1
    with figure(path, 0.75 + 0.27 * len(rows)) as page:
        ax = page.subplots()
        for y, condition in enumerate(rows):
            n, mean, _, low, high = condition.spread(metric)
            if not math.isnan(low):
                ends = [low * scale, high * scale]
                ax.plot(ends, [y, y], color=COLOURS[0], linewidth=1.6, zorder=2)
            ax.plot(mean * scale, y, "D", color=COLOURS[0], markersize=5, zorder=3)
            seeds = condition.numbers(metric) * scale
            ax.plot(seeds, [y + 0.22] * n, "o", color="#555555", markersize=3, alpha=0.7)
        gate = read_gate(sweep.about)
        chance = ""
        if gate and parse_metric(gate.metric).name.split("/")[-1] == metric.split("/")[-1]:
            ax.axvline(gate.chance * scale, color="#999999", linestyle=":", linewidth=1.2)
            chance = "; dotted: guessing"
        ax.set_yticks(range(len(rows)), [textwrap.fill(condition.label, 34) for condition in rows])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(title(metric))
        if is_fraction(metric) and not is_difference(metric):
            _within(ax, 0, 100)
    text = f"{title(metric)}: every seed, their mean and its 95% interval{chance}."
    return path.name, text + key(page)


def _within(ax: Axes, lowest: float, highest: float) -> None:
    """Limit the ticks of the x axis to the range of a metric; the axis may be 2 wider."""
    low, high = ax.get_xlim()
    ax.set_xlim(max(low, lowest - 2), min(high, highest + 2))
    ax.set_xticks([tick for tick in ax.get_xticks() if lowest <= tick <= highest])
    ax.set_xlim(max(low, lowest - 2), min(high, highest + 2))


def answers_chart(answers: Sequence[ClaimAnswer], folder: Path) -> list[tuple[str, str]]:
    """Draw each effect with the interval that decides, the margin as a band, and the seeds.

    There is one panel per unit: points, ratios, and each other metric.
    """
    panels: dict[str, list[tuple[int, ClaimAnswer]]] = {}
    for number, one in enumerate(answers, 1):
        if one.comparison is not None and math.isfinite(one.effect):
            panels.setdefault(_unit(one), []).append((number, one))
    if not panels:
        return []
    heights = [0.4 + 0.52 * len(rows) for rows in panels.values()]
    with figure(folder / "answers.png", 0.5 + sum(heights) + 0.35 * len(panels)) as page:
        axes = page.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, (unit, rows) in zip(axes, panels.items(), strict=True):
            _effects(ax, unit, rows)
        drawn = {one.answer for rows in panels.values() for _, one in rows}
        for name, tone in TONES.items():
            if name in drawn:
                axes[0].plot([], [], "D-", color=tone, label=name)
        legend(page, axes[0])
    text = (
        "Effects (diamonds) with the interval that decides, and the difference of each seed"
        " (dots). Grey: differences that do not matter."
    )
    return [("answers.png", text + key(page))]


def _unit(one: ClaimAnswer) -> str:
    if one.claim.is_ratio:
        return "ratio"
    metric = one.claim.metrics[0]
    return "points" if is_fraction(metric) else metric


def _effects(ax: Axes, unit: str, rows: Sequence[tuple[int, ClaimAnswer]]) -> None:
    scale = 100 if unit == "points" else 1
    transform = np.exp if unit == "ratio" else lambda values: scale * np.asarray(values)
    names = []
    for y, (number, one) in enumerate(rows):
        margin = one.claim.margin_of_differences
        low, high = transform([-margin, margin])
        ax.fill_betweenx([y - 0.42, y + 0.42], low, high, color="#e6e6e6", linewidth=0, zorder=0)
        tone = TONES[one.answer]
        if one.comparison is not None:
            seeds = transform(one.comparison.differences(one.seeds))
            ax.plot(seeds, [y + 0.2] * len(seeds), "o", color="#555555", markersize=2.5, alpha=0.7)
        if math.isfinite(one.low):
            ax.plot(
                transform(list(clipped(one.claim.metrics[0], one.interval, one.claim.target))),
                [y, y],
                color=tone,
                linewidth=2,
            )
        ax.plot(transform([one.effect]), [y], "D", color=tone, markersize=6)
        name = textwrap.shorten(f"{number}. {one.claim.statement}", 96, placeholder="...")
        names.append(textwrap.fill(name, 34))
    ax.axvline(1 if unit == "ratio" else 0, color="#222222", linewidth=1.1, zorder=1)
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("ratio" if unit == "ratio" else f"difference, {unit}")
    if unit == "points":
        _within(ax, -100, 100)


Groups = Mapping[str, tuple[Sequence[Run], str]]  # label -> trials, colour
CHOICES = 4  # up to so many values of an axis are drawn at equal distances
BLUE, ORANGE, GREY = COLOURS[0], COLOURS[1], "#aaaaaa"


def ranked(sweep: Sweep) -> list[Run]:
    """Return the finished trials, best first, by the first objective."""
    sign = -1 if sweep.facts["directions"][0] == "maximize" else 1
    return sorted(sweep.done, key=lambda run: (sign * float(run.objective), run.number))


def best_trials(sweep: Sweep, count: int = 10) -> str:
    """Return a Markdown table of the best trials with their settings."""
    test, val, _ = sweep.metrics
    rows = []
    for run in ranked(sweep)[:count]:
        scores = float(run.objective), run.record["metrics"].get(test, math.nan)
        settings = [run.values[axis] for axis in sweep.axes]
        row = [str(run.number), *(format_metric(val, score, unit=False) for score in scores)]
        rows.append(row + [f"{float(s):.3g}" if is_number(s) else escape(s) for s in settings])
    return markdown(["trial", title(val), title(test), *sweep.axes], rows)


def search_chart(sweep: Sweep, folder: Path) -> list[tuple[str, str]]:
    """Draw one panel per setting with one dot per trial; return [(file, caption)]."""
    best, varied = ranked(sweep)[:1], sweep.varied
    if not best or not varied:
        return []
    groups: Groups = {
        "pruned": ([run for run in sweep.runs if run.state == "pruned" and run.objective], GREY),
        "finished": (sweep.done, BLUE),
        "best": (best, ORANGE),
    }
    wide = min(2, len(varied))
    high = -(-len(varied) // wide)
    with figure(folder / "search.png", 0.5 + 1.9 * high) as page:
        axes = page.subplots(high, wide, sharey=True, squeeze=False)
        for ax, axis in zip(axes.flat, varied, strict=False):
            _panel(ax, sweep, axis, groups)
        for ax in list(axes.flat)[len(varied) :]:
            ax.set_visible(False)
        page.supylabel(title(sweep.metrics[1]), fontsize="medium")
        legend(page, axes[0, 0])
    text = f"Every trial's objective, against each of its settings.{key(page)}"
    return [("search.png", text)]


def _panel(ax: Axes, sweep: Sweep, axis: str, groups: Groups) -> None:
    known = list(dict.fromkeys(run.values[axis] for run in sweep.runs))
    numbers = all(map(is_number, known))
    known = sorted(known, key=float) if numbers else known
    choices = len(known) <= CHOICES or not numbers
    scale = 100 if is_fraction(sweep.metrics[1]) else 1
    for name, (runs, colour) in groups.items():
        texts = [run.values[axis] for run in runs]
        places = [float(known.index(t)) if choices else float(t) for t in texts]
        heights = [float(run.objective) * scale for run in runs]
        size = 5 if name == "best" else 3.5
        ax.plot(places, heights, "o", color=colour, markersize=size, label=name)
    ax.set_xlabel(axis)
    if choices:
        ax.set_xticks(range(len(known)), known)
        ax.set_xlim(-0.5, len(known) - 0.5)
    elif "log" in str(sweep.facts["axes"][axis]):
        logarithmic(ax, "x")


def line_styles(conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """Return a colour and a dash per condition; shades if only one numeric axis varies."""
    count = len(conditions)
    varied = [
        axis
        for axis in conditions[0].values
        if len({condition.values[axis] for condition in conditions}) > 1
    ]
    if len(varied) == 1 and count > 3 and all(is_number(c.values[varied[0]]) for c in conditions):
        return [{"color": shade} for shade in shades(count)]
    colours = (COLOURS * count)[:count]
    return [
        {"color": colour, "linestyle": DASHES[i // len(COLOURS) % len(DASHES)]}
        for i, colour in enumerate(colours)
    ]


def split_into_figures(
    sweep: Sweep, conditions: Sequence[Condition], most: int = 7
) -> dict[str, list[Condition]]:
    """Group conditions by the axis that needs the fewest figures of `most` conditions."""
    splits = []
    for axis in sweep.varied if len(sweep.varied) > 1 and len(conditions) > most else []:
        groups: dict[str, list[Condition]] = {}
        for condition in conditions:
            rest = {key: value for key, value in condition.values.items() if key != axis}
            within = replace(condition, label=sweep.label(rest))
            groups.setdefault(sweep.label({axis: condition.values[axis]}), []).append(within)
        splits.append(groups)
    small = [groups for groups in splits if max(map(len, groups.values())) <= most]
    return min(small or splits, key=len, default={"": list(conditions)})
