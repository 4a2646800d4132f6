"""Style and save figures, so that the same numbers give the same bytes."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, Formatter, FuncFormatter, LogFormatter
from PIL import Image

WIDTH = 6.2  # inches: a text column
# Okabe and Ito 2008: distinct under every kind of colour blindness; their yellow is left out
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
COUNT = 128  # colours in the saved palette
DASHES = ["-", (0, (4, 1.5)), (0, (1, 1))]
STYLE: Any = {
    "font.size": 8.5,
    "text.parse_math": False,  # a class may be called $5_$10
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
    """Yield a figure `WIDTH` inches wide and `height` inches high, then write it to `path`."""
    with style():
        drawn = Figure(figsize=(WIDTH, height), layout="constrained")
        yield drawn
        path.parent.mkdir(exist_ok=True)
        picture = io.BytesIO()
        save(drawn, picture, dpi=140)
        path.unlink(missing_ok=True)  # in a stranger's folder it may be a link
        # a palette takes a third of the bytes; reports are committed
        Image.open(picture).convert("RGB").quantize(COUNT, dither=Image.Dither.NONE).save(
            path, optimize=True
        )


@contextmanager
def style() -> Iterator[None]:
    """Yield with the style in which figures are drawn and saved, whatever style was set before."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def logarithmic(axes: Axes, which: str) -> None:
    """Make the axis "x" or "y" logarithmic, with plain numbers, as `STYLE` turns formulas off."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter(labelOnlyBase=False))


def save(drawn: Figure, file: Any, *, dpi: int) -> None:
    """Save a figure, with installed fonts for letters that the default font lacks.

    Numbers in brackets replace words with letters that no installed font has; see `numbered`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        drawn.draw_without_rendering()  # creates the labels of the ticks
    texts = drawn.findobj(Text)
    lacking = {c for text in texts for c in text.get_text() if not c.isspace()} - _letters(
        font_manager.findfont(FontProperties(family=["sans-serif"]))
    )
    if lacking:
        families, undrawable = fonts_with(frozenset(lacking))
        mpl.rcParams["font.family"] = ["sans-serif", *families]  # for ticks that are created later
        for text in texts:
            text.set_fontfamily(["sans-serif", *families])
        if undrawable:
            _number(drawn, undrawable)
    drawn.savefig(file, dpi=dpi)


def numbered(drawn: Figure) -> str:
    """Return the meaning of the numbers in a saved figure: "[1] is ..."; "" if there are none."""
    numbers: dict[str, int] = getattr(drawn, "numbered", {})
    return ", ".join(f"[{number}] is {text}" for text, number in numbers.items())


@cache
def fonts_with(letters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Return the families of installed fonts with these letters, and the letters of no font."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:  # installed after matplotlib cached its list
            with suppress(OSError, RuntimeError, ValueError):
                font_manager.fontManager.addfont(path)
    # matplotlib's Last Resort has a box for every letter
    entries = [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and not entry.name.startswith("Last Resort")
    ]
    entries.sort(key=lambda entry: abs(int(entry.weight) - 400) if entry.weight else 0)
    families: list[str] = []
    left = set(letters)
    while left and entries:
        best = max(entries, key=lambda entry: len(left & _letters(entry.fname)))
        if not left & _letters(best.fname):
            break
        families.append(best.name)
        left -= _letters(best.fname)
    return families, frozenset(left)


@cache
def _letters(font: str) -> frozenset[str]:
    try:
        face = FT2Font(font)
        return frozenset(map(chr, face.get_charmap())) if face.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _number(drawn: Figure, undrawable: frozenset[str]) -> None:
    """Replace words in undrawable letters by numbers, in texts and in labels of ticks."""
    numbers: dict[str, int] = {}
    words = re.compile(f"[{re.escape(''.join(undrawable))}]+")

    def replaced(text: str) -> str:
        return words.sub(lambda word: f"[{numbers.setdefault(word[0], len(numbers) + 1)}]", text)

    def of_ticks(given: Formatter) -> Formatter:
        return FuncFormatter(lambda x, at: replaced(given(x, at)))

    for axes in drawn.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(given := axis.get_major_formatter(), FuncFormatter | FixedFormatter):
                axis.set_major_formatter(of_ticks(given))
    for text in drawn.findobj(Text):
        text.set_text(replaced(text.get_text()))
    drawn.numbered = numbers  # type: ignore[attr-defined]


def legend(page: Figure, ax: Axes) -> None:
    """Put the legend of `ax` above the figure, in as many columns as fit."""
    handles, labels = ax.get_legend_handles_labels()
    columns = 110 // (10 + max(map(len, labels), default=0))  # a line holds 110 letters
    page.legend(handles, labels, loc="outside upper left", ncols=max(1, min(5, columns)))


def shades(count: int) -> list[Any]:
    """Return `count` colours from dark to light."""
    return [mpl.colormaps["viridis"](0.82 * i / max(1, count - 1)) for i in range(count)]
