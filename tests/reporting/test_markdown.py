"""Texts of users in Markdown: shown as they are."""

import html
import re

import pytest
from markdown_it import MarkdownIt

from alexlab.reporting.html import html_page
from alexlab.reporting.markdown import code, escape, markdown, only_own_images

NAMES = [
    "*a*",
    "__init__",
    "a_b_c",
    "[x](http://203.0.113.9)",
    "![x](http://203.0.113.9/b.png)",
    "<img src=http://203.0.113.9/b.png>",
    "<script>alert(1)</script>",
    "`rm`",
    "a|b",
    "\\",
    "\\*",
    "&lt;",
    "~~x~~",
    "$5_$10",
    "# x",
    "- x",
    "!",
    "1e5",
    "null",
]


def shown(page):
    """What a reader sees of an HTML text."""
    return html.unescape(re.sub("<[^>]+>", "", page)).strip()


@pytest.mark.parametrize(
    ("text", "span"), [("a", "`a`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```")]
)
def test_a_code_span_has_the_shortest_fence_that_is_not_in_it(text, span):
    assert code(text) == span


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is(name):
    render = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).render
    assert shown(render(escape(name))) == name
    assert render(escape(name)).startswith("<p>")
    assert shown(render(f"x {code(name)}")) == f"x {name}"
    table = render(markdown(["class", "n"], [[escape(name), "1"]]))
    cells = re.findall("<td[^>]*>(.*?)</td>", table)
    assert [shown(cell) for cell in cells] == [name, "1"]


def test_lines_and_control_codes_do_not_leave_their_place():
    assert escape("a\n\n# b") == "a # b"
    assert escape("\x1b]0;owned\x07\x9b31m\u202e") == r"\\x1b\]0;owned\\x07\\x9b31m\\u202e"


@pytest.mark.parametrize(
    "image",
    [
        "![x](http://203.0.113.9/beacon.png)",
        "![x](plots/../../../env.sh)",
        "![x](plots/other.png)",
        "![x](//203.0.113.9/beacon.png)",
        "![x](file:///etc/passwd)",
        "![x][ref]\n\n[ref]: http://203.0.113.9/beacon.png",
        "![[x](plots/own.png)](http://203.0.113.9/beacon.png)",
        "[![x](http://203.0.113.9/beacon.png)](plots/own.png)",
        "<img src='http://203.0.113.9/beacon.png'>",
        "<p><img src=http://203.0.113.9/beacon.png></p>",
    ],
)
def test_no_image_but_the_pages_own_is_shown(tmp_path, image):
    (tmp_path / "plots").mkdir()
    for name in ("own.png", "other.png"):
        (tmp_path / "plots" / name).write_bytes(b"pixels of " + name.encode())
    text = f"{image}\n\n![mine](plots/own.png)\n"
    page = html_page(text, tmp_path, images=["own.png"])
    assert re.findall('<img src="[^"]*"', page)[-1:] == [
        '<img src="data:image/png;base64,cGl4ZWxzIG9mIG93bi5wbmc="'
    ]
    assert not re.search(r"""<img(?! src="data:image/png;base64,cGl4ZWxzIG9mIG93bi5wbmc=")""", page)
    # and in the Markdown, which other programs show, with HTML
    written = only_own_images(text, ["own.png"])
    other = MarkdownIt("commonmark", {"html": True}).render(written)
    assert re.findall(r"<img [^>]*src=[\"']?([^\"' >]+)", other) == ["plots/own.png"]


def test_a_page_may_load_nothing(tmp_path):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html_page("x", tmp_path))
    script = r"script-src 'sha256-[\w+/]{43}='"  # page.js and no other: see test_html.py
    allowed = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    assert re.fullmatch(allowed + script, policy[1])


def test_links_of_articles_stay():
    assert only_own_images("see <https://example.org/a>.", []) == "see <https://example.org/a>."


def test_a_caption_with_brackets_belongs_to_its_image(tmp_path):
    """Letters that no font has are explained in captions: [1] is ..."""
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "own.png").write_bytes(b"x")
    key = escape("[1] is \u76ae")
    text = f"![Means. {key}](plots/own.png)"
    assert only_own_images(text, ["own.png"]) == text
    page = html_page(text, tmp_path, images=["own.png"])
    assert re.search(
        r'<img src="data:image/png;base64,eA=="[^>]* alt="Means\. \[1\] is \u76ae"', page
    )
