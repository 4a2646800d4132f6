"""How figures look, and how they are kept: the same bytes from the same numbers."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from src.studies.cells import Cell
from src.studies.sweep import Sweep
from src.studies.values import is_number

WIDTH = 6.2  # inches: a text column
# Okabe and Ito 2008, told apart with every kind of colour blindness; without its yellow
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
COUNT = 128  # colours of a picture
DASHES = ["-", (0, (4, 1.5)), (0, (1, 1))]
STYLE: Any = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


@contextmanager
def figure(path: Path, height: float) -> Iterator[Figure]:
    """A figure of a column's width and `height` inches, written to `path` at the end."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(WIDTH, height), layout="constrained")
        yield drawn
        path.parent.mkdir(exist_ok=True)
        picture = io.BytesIO()
        drawn.savefig(picture, dpi=140)
        # a third of the bytes: reports are committed
        Image.open(picture).convert("RGB").quantize(COUNT, dither=Image.Dither.NONE).save(
            path, optimize=True
        )


def legend(page: Figure, ax: Axes) -> None:
    """What the lines of `ax` are, above the figure, in as many columns as fit."""
    handles, labels = ax.get_legend_handles_labels()
    columns = 110 // (10 + max(map(len, labels), default=0))  # a line holds 110 letters
    page.legend(handles, labels, loc="outside upper left", ncols=max(1, min(5, columns)))


def shades(count: int) -> list[Any]:
    """Colours for things that have an order."""
    return [mpl.colormaps["viridis"](0.82 * i / max(1, count - 1)) for i in range(count)]


def looks(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """A colour and a dash for each cell; shades where they differ in one number only."""
    count = len(cells)
    varied = [axis for axis in cells[0].values if len({cell.values[axis] for cell in cells}) > 1]
    if len(varied) == 1 and count > 3 and all(is_number(c.values[varied[0]]) for c in cells):
        return [{"color": shade} for shade in shades(count)]
    colours = (COLOURS * count)[:count]
    return [
        {"color": colour, "linestyle": DASHES[i // len(COLOURS) % len(DASHES)]}
        for i, colour in enumerate(colours)
    ]


def parts(sweep: Sweep, cells: Sequence[Cell], most: int = 7) -> dict[str, list[Cell]]:
    """`cells` in groups that one figure can show: by the axis that makes the fewest of them."""
    splits = []
    for axis in sweep.varied if len(sweep.varied) > 1 and len(cells) > most else []:
        groups: dict[str, list[Cell]] = {}
        for cell in cells:
            rest = {key: value for key, value in cell.values.items() if key != axis}
            within = replace(cell, label=sweep.label(rest))
            groups.setdefault(sweep.label({axis: cell.values[axis]}), []).append(within)
        splits.append(groups)
    small = [groups for groups in splits if max(map(len, groups.values())) <= most]
    return min(small or splits, key=len, default={"": list(cells)})
