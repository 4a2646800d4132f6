"""Names of classes and files that look like formulas, markup or codes, through the commands."""

import json
import re
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from alexlab.data.check import check_report
from alexlab.evaluation import plots
from alexlab.reporting import plotting
from alexlab.reporting.html import html_page
from alexlab.runs.config import compose_config
from tests.pictures import class_folders
from tests.reporting.test_markdown import shown
from tests.tiny import train

NAMES = [
    "$5_$10",
    "$10_$20",
    "\u76ae\u5361\u4e18",
    "<img src=x>",
    "![x](http:203.0.113.9)",
    "a|b",
    "*b*",
    "\x1b[31mred",
]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The folder of the evaluation of a run with such classes."""
    from alexlab.evaluation.evaluate import evaluate

    place = tmp_path_factory.mktemp("names")
    root = class_folders(place / "in", NAMES, each=6)
    small = ["data=folder", f"data.root={root}", "model=small_cnn", "data.resolution=32"]
    small += ["data.batch_size=4", "trainer.max_epochs=1", f"cache_dir={place}/cache"]
    train(compose_config([*small, "data.split=random"]), place / "run")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        folder = evaluate(place / "run", split="all")
    return folder, [str(warning.message) for warning in said]


def test_every_plot_is_drawn_and_no_letter_is_missing(evaluated):
    folder, warned = evaluated
    found = {path.stem for path in (folder / "plots").iterdir()}
    assert {"confusion", "reliability", "mistakes", "mistakes_by_class"} <= found
    assert not [text for text in warned if "Glyph" in text]


def test_the_page_shows_the_names_as_they_are(evaluated):
    page = (evaluated[0] / "evaluation.html").read_text()
    table = re.split(r"<h2[^>]*>Classes", page)[1].split("</table>")[0]
    rows = re.findall("<tr>\n<td>(.*?)</td>", table)
    assert [shown(row) for row in rows] == [name.replace("\x1b", r"\x1b") for name in sorted(NAMES)]
    assert {s[:22] for s in re.findall('<img src="([^"]*)"', page)} == {"data:image/png;base64,"}


def test_letters_without_a_font_are_explained_below_the_plot(evaluated, tmp_path):
    """This holds where no font has them; where one has, they are drawn."""
    _, undrawable = plotting.fonts_with(frozenset("\u76ae\u5361\u4e18"))
    text = (evaluated[0] / "evaluation.md").read_text()
    part = text.split("](plots/confusion.png)")[1].split("## ")[0]
    assert ("is \u76ae\u5361\u4e18" in part) == bool(undrawable)


def test_the_terminal_gets_no_codes_of_names(alexlab, evaluated, capfd):
    alexlab("evaluate", evaluated[0].parent, "--split", "all")
    assert "\x1b[31m" not in capfd.readouterr().out


def test_the_run_s_head_gets_no_codes_of_names(evaluated):
    log = (evaluated[0].parent / "train.log").read_text()
    assert r"\x1b[31mred" in log
    assert "\x1b" not in log


def test_a_report_of_a_data_check_shows_names_as_they_are(tmp_path, compose):
    from alexlab import factory
    from alexlab.data.check import examine

    root = class_folders(tmp_path / "in", NAMES, each=3)
    (root / NAMES[0] / "![x](http:b.png)\x1b.png").write_bytes(b"x")
    cfg = compose("data=folder", f"data.root={root}", f"cache_dir={tmp_path}/cache")
    text = check_report(examine(factory.unprepared_data(cfg)))
    page = html_page(text, tmp_path)
    rows = re.findall("<tr>\n<td>(.*?)</td>", page)
    assert {name.replace("\x1b", r"\x1b") for name in NAMES} <= {shown(row) for row in rows}
    assert "<img" not in page
    assert "\x1b" not in text


def test_labels_of_ticks_are_no_formulas(tmp_path):
    with plotting.style():
        figure = plots.confusion(np.eye(2, dtype=int).tolist(), ["$5_$10", "$"])
        plotting.save(figure, tmp_path / "x.png", dpi=50)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["$5_$10", "$"]
    assert Image.open(tmp_path / "x.png").width > 50


def test_a_link_in_place_of_the_plots_is_not_followed(alexlab, class_run, tmp_path):
    run = shutil.copytree(class_run, tmp_path / "run")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "keep.txt").write_text("mine")
    shutil.rmtree(run / "evaluation", ignore_errors=True)
    (run / "evaluation").mkdir()
    (run / "evaluation" / "plots").symlink_to(mine)
    alexlab("evaluate", run)
    assert [path.name for path in mine.iterdir()] == ["keep.txt"]
    assert (run / "evaluation" / "plots" / "confusion.png").exists()
    assert json.loads((run / "evaluation" / "evaluation.json").read_text())["images"] == 20
