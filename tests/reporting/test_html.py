"""Pages as one HTML file: folded sections, marked answers, the language of quotes."""

import base64
import hashlib
import json
import re

from PIL import Image

from alexlab.reporting.html import html_page

PAGE = """# Which?

## Answers

**more**: the claim is **supported**. And **no difference that matters**, **not tested**.

> \u6fc0\u6d3b\u51fd\u6570

## Methods

How it was done.

## How it was run

By a command.
"""


def test_folded_sections_are_closed_and_the_others_are_not(tmp_path):
    page = html_page(PAGE, tmp_path, folded=["Methods"])
    closed = '<details id="methods"><summary>Methods</summary>\n<p>How it was done.</p>\n</details>'
    assert closed in page
    assert '<h2 id="answers">Answers<' in page
    assert re.search('<h2 id="how-it-was-run">How it was run<a .*</a></h2>\n<p>By a command', page)
    assert "<details" not in html_page(PAGE, tmp_path)


def test_answers_and_judgements_are_marked(tmp_path):
    page = html_page(PAGE, tmp_path)
    for css, text in (
        ("more", "more"),
        ("supported", "supported"),
        ("no-difference-that-matters", "no difference that matters"),
        ("not-tested", "not tested"),
    ):
        assert f'<span class="answer {css}">{text}</span>' in page


def test_chinese_text_has_its_language(tmp_path):
    page = html_page(PAGE, tmp_path)
    assert '<p lang="zh">\u6fc0\u6d3b\u51fd\u6570</p>' in page
    assert page.count('lang="zh"') == 1


def test_each_claim_is_a_card_and_wide_tables_scroll(tmp_path):
    claims = "# Q\n\n## Answers\n\n### 1. One\n\nyes\n\n### 2. Two\n\nno\n\n## Methods\n\nhow"
    page = html_page(f"{claims}\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n", tmp_path, ["Methods"])
    for heading, text in (("1. One", "yes"), ("2. Two", "no")):
        card = (
            rf'<section class="card">\n<h3 [^>]*>{heading}<a .*</a></h3>\n<p>{text}</p>\n</section>'
        )
        assert re.search(card, page)
    assert page.count("<section") == 2
    assert '<details id="methods"><summary>Methods</summary>\n<p>how</p>' in page
    assert page.count('<div class="wide"><table>') == page.count("</table></div>") == 1


def test_contents_lead_to_each_heading_also_of_the_same_name(tmp_path):
    page = html_page("# Q\n\n## A b\n\n### 1. x < y\n\n## A b\n\n## \u7c7b\n", tmp_path)
    nav = re.search(r"<nav .*?</nav>", page, re.DOTALL)[0]
    links = re.findall(r'href="#([^"]+)">([^<]+)</a>', nav)
    assert links == [
        *(("a-b", "A b"), ("1-x-y", "1. x &lt; y"), ("a-b-2", "A b"), ("\u7c7b", "\u7c7b"))
    ]
    assert [re.search(f' id="{name}"', page) is not None for name, _ in links] == [True] * 4
    assert "<nav" not in html_page("# Q\n\n## A\n\n## B\n", tmp_path)


def test_the_page_runs_its_own_script_only(tmp_path):
    page = html_page(PAGE.replace("By a", "<script>alert(1)</script> a"), tmp_path)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (allowed,) = re.findall(r"script-src 'sha256-([^']+)'", page)
    assert base64.b64decode(allowed) == hashlib.sha256(script.encode()).digest()
    assert "alert(1)" not in script
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"innerHTML|eval|https?://(?!www\.w3\.org/2000/svg)", script)


def picture(folder, width):
    (folder / "plots").mkdir(exist_ok=True)
    Image.new("RGB", (width, 20)).save(folder / "plots" / "a.png")


def test_data_of_a_chart_cannot_end_its_element_and_names_its_image(tmp_path):
    picture(tmp_path, 900)
    data = {"keys": ["</script><script>alert(1)"], "epochs": [1]}
    text = "# Q\n\n![a](plots/a.png)\n"
    page = html_page(text, tmp_path, images=["a.png"], charts={"a.png": data, "b.png": data})
    ((name, content),) = re.findall(
        r'<script type="application/json" data-image="([^"]+)">(.*?)</script>', page
    )
    assert name == "plots/a.png"
    assert json.loads(content) == data
    assert re.search('<img src="data:image/png[^"]*" class="plot" id="plots/a.png" alt="a"', page)


def test_a_photo_keeps_its_colours_and_a_narrow_plot_its_size(tmp_path):
    picture(tmp_path, 400)
    text = "# Q\n\n![a](plots/a.png)\n"
    assert 'class="photo" style="max-width: 260px"' in html_page(
        text, tmp_path, images=["a.png"], photos=["a.png"]
    )
