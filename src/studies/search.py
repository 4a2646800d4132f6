"""A search: its best trials, and the objective against each setting."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from src.studies.figures import COLOURS, figure, legend
from src.studies.metrics import is_fraction, shown
from src.studies.run import Run
from src.studies.sweep import Sweep
from src.studies.tables import markdown, title
from src.studies.values import is_number

Groups = Mapping[str, tuple[Sequence[Run], str]]  # what they are -> trials, colour
CHOICES = 4  # so few values of an axis stand side by side, whatever their distance
BLUE, ORANGE, GREY = COLOURS[0], COLOURS[1], "#aaaaaa"


def ranked(sweep: Sweep) -> list[Run]:
    """The finished trials, the best first; by the first objective, where there are several."""
    sign = -1 if sweep.facts["directions"][0] == "maximize" else 1
    return sorted(sweep.done, key=lambda run: (sign * float(run.objective), run.number))


def best_trials(sweep: Sweep, count: int = 10) -> str:
    """The best trials with their settings, as a Markdown table."""
    test, val, _ = sweep.words
    rows = []
    for run in ranked(sweep)[:count]:
        scores = float(run.objective), run.record["metrics"].get(test, math.nan)
        settings = [run.values[axis] for axis in sweep.axes]
        row = [str(run.number), *(shown(val, score, unit=False) for score in scores)]
        rows.append(row + [f"{float(s):.3g}" if is_number(s) else s for s in settings])
    return markdown(["trial", title(val), title(test), *sweep.axes], rows)


def search_chart(sweep: Sweep, folder: Path) -> list[tuple[str, str]]:
    """One panel a setting, one dot a trial; [(file, what it shows)], none without results."""
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
        page.supylabel(title(sweep.words[1]), fontsize="medium")
        legend(page, axes[0, 0])
    return [("search.png", "Every trial's objective, against each of its settings.")]


def _panel(ax: Axes, sweep: Sweep, axis: str, groups: Groups) -> None:
    known = list(dict.fromkeys(run.values[axis] for run in sweep.runs))
    numbers = all(map(is_number, known))
    known = sorted(known, key=float) if numbers else known
    choices = len(known) <= CHOICES or not numbers
    scale = 100 if is_fraction(sweep.words[1]) else 1
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
        ax.set_xscale("log")
