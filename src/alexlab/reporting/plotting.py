"""Style and save figures: the same numbers give the same bytes."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

WIDTH = 6.2  # inches: a text column
# Okabe and Ito 2008: distinct under every kind of colour blindness; without its yellow
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
COUNT = 128  # colours in the saved palette
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
    """Yield a figure as wide as a column and `height` inches high; then write it to `path`."""
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
    """Put the legend of `ax` above the figure, in as many columns as fit."""
    handles, labels = ax.get_legend_handles_labels()
    columns = 110 // (10 + max(map(len, labels), default=0))  # a line has room for 110 letters
    page.legend(handles, labels, loc="outside upper left", ncols=max(1, min(5, columns)))


def shades(count: int) -> list[Any]:
    """Return `count` colours with an order."""
    return [mpl.colormaps["viridis"](0.82 * i / max(1, count - 1)) for i in range(count)]
