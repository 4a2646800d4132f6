"""How figures look, and how they are kept: the same bytes from the same numbers."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from src.studies.cells import Cell
from src.studies.sweep import Sweep

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


def looks(sweep: Sweep, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """A colour and a dash for each cell: a scale for the values of one numeric axis."""
    varied = [axis for axis in sweep.axes if len({cell.values[axis] for cell in cells}) > 1]
    if len(varied) == 1 and len(cells) > 3 and numeric(cells, varied[0]):
        scale = mpl.colormaps["viridis"]
        return [{"color": scale(0.9 * i / (len(cells) - 1))} for i in range(len(cells))]
    count = len(COLOURS)
    return [
        {"color": COLOURS[i % count], "linestyle": DASHES[i // count % len(DASHES)]}
        for i in range(len(cells))
    ]


def numeric(cells: Sequence[Cell], axis: str) -> bool:
    """Whether all values of `axis` are numbers."""
    try:
        return all(float(cell.values[axis]) is not None for cell in cells)
    except ValueError:
        return False


def parts(sweep: Sweep, cells: Sequence[Cell], most: int = 7) -> dict[str, list[Cell]]:
    """`cells` in groups that one figure can show: by the axis that makes the fewest of them."""
    splits = []
    for axis in sweep.varied:
        groups: dict[str, list[Cell]] = {}
        for cell in cells:
            groups.setdefault(sweep.label({axis: cell.values[axis]}), []).append(cell)
        splits.append(groups)
    small = [groups for groups in splits if max(map(len, groups.values())) <= most]
    if len(cells) <= most or len(splits) < 2 or not splits:
        return {"": list(cells)}
    return min(small or splits, key=len)
