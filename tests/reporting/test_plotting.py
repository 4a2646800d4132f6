"""Texts of users in figures: never a formula, and in letters that can be read."""

import io
import warnings

import matplotlib.style
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image

from alexlab.reporting import plotting

PIKACHU = "\u76ae\u5361\u4e18"  # as the articles' readers call one


@pytest.fixture
def fonts(monkeypatch):
    """Forget what was found before and after a test that adds a font."""
    plotting.fonts_with.cache_clear()
    before = list(font_manager.fontManager.ttflist)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *_, **__: [])
    yield
    font_manager.fontManager.ttflist[:] = before
    plotting.fonts_with.cache_clear()


def install(path, letters, family):
    """A real font whose only letters are full black squares."""
    names = [".notdef", *(f"u{ord(letter):X}" for letter in letters)]
    pen = TTGlyphPen(None)
    for x, y in ((50, 0), (50, 900), (950, 900), (950, 0)):
        (pen.moveTo if (x, y) == (50, 0) else pen.lineTo)((x, y))
    pen.closePath()
    square, empty = pen.glyph(), TTGlyphPen(None).glyph()
    built = FontBuilder(1000, isTTF=True)
    built.setupGlyphOrder(names)
    built.setupCharacterMap(dict(zip(map(ord, letters), names[1:], strict=True)))
    built.setupGlyf({name: empty if name == ".notdef" else square for name in names})
    built.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    built.setupHorizontalHeader(ascent=900, descent=-100)
    built.setupNameTable({"familyName": family, "styleName": "Regular"})
    built.setupOS2(sTypoAscender=900, usWeightClass=400)
    built.setupPost()
    built.save(path)


def drawn(text, **options):
    """The figure with this title and these tick labels, and its pixels."""
    with plotting.style():
        figure = Figure((3, 2), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(text)
        axes.set_xticks([0, 1], [text, "dog"])
        file = io.BytesIO()
        with warnings.catch_warnings(action="error"):  # of glyphs that are missing
            plotting.save(figure, file, dpi=100)
    return figure, np.asarray(Image.open(file).convert("L"))


def texts(figure):
    axes = figure.axes[0]
    return axes.get_title(), axes.get_xticklabels()[0].get_text()


@pytest.mark.parametrize("name", ["$5_$10", r"$\frac{$", "a\\$b$c$", "50% ^_{} \\alpha"])
def test_a_text_with_dollar_signs_is_no_formula(name):
    figure, _ = drawn(name)
    assert texts(figure) == (name, name)
    assert not any(text.get_parse_math() for text in figure.axes[0].get_xticklabels())


def test_letters_are_drawn_with_a_font_that_has_them(tmp_path, fonts):
    """Without the font the letters would be the boxes of the standard font."""
    install(tmp_path / "squares.ttf", PIKACHU, "Squares")
    _, before = drawn("     ")
    font_manager.fontManager.addfont(tmp_path / "squares.ttf")
    figure, after = drawn(PIKACHU)
    assert texts(figure) == (PIKACHU, PIKACHU)
    assert plotting.numbered(figure) == ""
    # three full squares of the size of the letters, twice: 9 and 8.5 points at 100 dots per inch
    black = (after < 100).sum() - (before < 100).sum()
    squares = 3 * 0.9 * 0.9 * ((9 / 72 * 100) ** 2 + (8.5 / 72 * 100) ** 2)
    assert black == pytest.approx(squares, rel=0.25)


def test_a_font_installed_after_the_list_was_made_is_found(tmp_path, fonts, monkeypatch):
    install(tmp_path / "squares.ttf", PIKACHU, "Squares")
    monkeypatch.setattr(
        font_manager, "findSystemFonts", lambda *_, **__: [str(tmp_path / "squares.ttf")]
    )
    assert plotting.fonts_with(frozenset(PIKACHU)) == (["Squares"], frozenset())


def test_several_fonts_together(tmp_path, fonts):
    install(tmp_path / "a.ttf", PIKACHU[:2], "First")
    install(tmp_path / "b.ttf", PIKACHU[2], "Second")
    for name in ("a.ttf", "b.ttf"):
        font_manager.fontManager.addfont(tmp_path / name)
    assert plotting.fonts_with(frozenset(PIKACHU)) == (["First", "Second"], frozenset())


def test_letters_that_no_font_has_become_numbers_with_a_key(fonts):
    name = "\U0010fff0\U0010fff1"  # private use: no font has these
    figure, _ = drawn(f"{name} 97%")
    assert texts(figure) == ("[1] 97%", "[1] 97%")
    assert plotting.numbered(figure) == f"[1] is {name}"


def test_what_the_standard_font_has_needs_no_search(monkeypatch):
    monkeypatch.setattr(plotting, "fonts_with", lambda letters: pytest.fail(f"{letters}"))
    drawn("Pok\u00e9mon \u0394 \u03b1 \u0416 \u2192")


def test_logarithmic_axes_have_plain_numbers():
    with plotting.style():
        figure = Figure()
        axes = figure.add_subplot()
        axes.plot([1, 2], [0.001, 1000])
        plotting.logarithmic(axes, "y")
        figure.draw_without_rendering()
    labels = {text.get_text() for text in axes.get_yticklabels()} - {""}
    assert {1e-3, 1, 1e3} <= {float(label.replace("\u2212", "-")) for label in labels}


def test_a_link_in_the_place_of_a_plot_is_replaced(tmp_path):
    """In the folder of a stranger; what it leads to stays as it is."""
    (tmp_path / "plots").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "plots" / "a.png").symlink_to(tmp_path / "mine.txt")
    with plotting.figure(tmp_path / "plots" / "a.png", 1.0):
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert Image.open(tmp_path / "plots" / "a.png").format == "PNG"


@pytest.mark.parametrize("count", [2, 5])
def test_shades_go_from_dark_to_light(count):
    # relative luminance of linear light, ITU-R BT.709; viridis is made to rise in it evenly
    light = [
        rgb @ (0.2126, 0.7152, 0.0722) for rgb in np.array(plotting.shades(count))[:, :3] ** 2.2
    ]
    assert light == sorted(set(light))
    assert light[0] < 0.05
    assert light[-1] > 0.4


def test_a_figure_has_its_own_style_whatever_style_was_set_before(tmp_path):
    """As a notebook does, a matplotlibrc, or another library that draws."""
    for name in ("default", "ggplot"):
        with matplotlib.style.context(name), plotting.figure(tmp_path / f"{name}.png", 2.0) as page:
            page.subplots().plot([1, 2], [3, 4], "o")
            page.axes[0].set_xlabel("epoch")
    assert (tmp_path / "ggplot.png").read_bytes() == (tmp_path / "default.png").read_bytes()
