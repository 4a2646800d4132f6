"""Reports of a stranger's sweep: they show his texts, and load or embed nothing that he names."""

import html
import re

from markdown_it import MarkdownIt

from alexlab.studies.write_report import write_report

BEACON = "http://203.0.113.9/beacon.png"
CHINESE = "\u76ae\u5361\u4e18"


def results(values):
    if values["act"] == "relu" and values["seed"] == "1":
        return f"cannot read [/data/a.png] ![x]({BEACON}) <img src={BEACON}> \x1b]0;owned\x07"
    return {"val/acc": 0.5 + int(values["seed"]) / 10}


def hostile(make_sweep, tmp_path):
    """The folder of the report's sweep; a file that its question names stands beside it."""
    (tmp_path / "env.sh").write_text("SECRET=1")
    question = f"Which?\n\n![x](plots/../../../env.sh) ![y]({BEACON})"
    folder = make_sweep(
        {"act": ["relu", CHINESE, "$5_$10"], "seed": range(3)}, results, {"question": question}
    )
    (folder / "plots").mkdir()
    (folder / "plots" / "curves.png").symlink_to(tmp_path / "env.sh")
    write_report(folder)
    return folder


def test_only_the_report_s_own_plots_are_images(make_sweep, tmp_path):
    folder = hostile(make_sweep, tmp_path)
    page = (folder / "report.html").read_text()
    sources = re.findall(r"<img [^>]*src=[\"']?([^\"' >]+)", page)
    assert len(sources) >= 2
    assert {source[:32] for source in sources} == {"data:image/png;base64,iVBORw0KGg"}  # PNG
    assert "U0VDUkVUPTE" not in page  # SECRET=1 in base64
    other = MarkdownIt("commonmark", {"html": True}).render((folder / "report.md").read_text())
    assert {s.split("/")[0] for s in re.findall('<img src="([^"]+)"', other)} == {"plots"}


def test_the_file_behind_a_link_stays_as_it_is(make_sweep, tmp_path):
    folder = hostile(make_sweep, tmp_path)
    assert (tmp_path / "env.sh").read_text() == "SECRET=1"
    assert not (folder / "plots" / "curves.png").is_symlink()


def test_an_error_is_shown_as_it_is_without_codes(make_sweep, tmp_path):
    folder = hostile(make_sweep, tmp_path)
    page = (folder / "report.html").read_text()
    shown = html.unescape(re.sub("<[^>]+>", "", page))
    assert f"![x]({BEACON}) <img src={BEACON}>" in shown
    assert "a.png]" in shown
    for name in ("report.html", "report.md"):
        assert "\x1b" not in (folder / name).read_text()
        assert r"\x1b]0;owned\x07" in html.unescape(
            (folder / name).read_text().replace("\\\\", "\\").replace("\\]", "]")
        )


def test_conditions_with_formulas_and_chinese_names_are_drawn(make_sweep, tmp_path):
    folder = hostile(make_sweep, tmp_path)
    assert (folder / "plots" / "curves.png").stat().st_size > 1000
    page = html.unescape((folder / "report.html").read_text())
    assert "$5_$10" in page
    assert CHINESE in page
