"""Convert a Markdown page to one self-contained HTML file, which loads nothing.

Its script (page.js) adds copy buttons, filters and interactive charts. Without scripts the page has
the same texts, tables and plots.
"""

import base64
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from html import escape, unescape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

CSS = Path(__file__).with_name("page.css").read_text("utf-8")
SCRIPT = Path(__file__).with_name("page.js").read_text("utf-8")
ANSWER = re.compile(
    r"<strong>(more|less|no difference that matters|cannot tell|not tested"
    r"|supported|contradicted|not supported)</strong>"
)
CARD = re.compile(r"(<h3[^>]*>\d+\. .*?)(?=<h[23]|\Z)", re.DOTALL)  # a claim with its answer
CHINESE = re.compile(r"[\u4e00-\u9fff]")
HEADING = re.compile(r"<(h[23])>(.*?)</h[23]>")
NARROW = 800  # pixels: up to this width an image is not enlarged to the width of the text
FEW = 3  # sections: a shorter page needs no contents

IMAGE = re.compile(r'<img src="([^"]*)" alt="([^"]*)"[^>]*>')  # as markdown-it writes it
# second protection against texts of strangers: the browser loads nothing and runs only page.js
HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{HASH}'"


def html_page(
    markdown: str,
    folder: Path,
    folded: Collection[str] = (),
    images: Collection[str] = (),
    *,
    photos: Collection[str] = (),
    charts: Mapping[str, Any] | None = None,
    thumbnails: Mapping[str, bytes] | None = None,
    filtered: bool = False,
) -> str:
    """Convert a Markdown page to HTML with embedded images, style and script.

    Args:
        markdown: The page; HTML in it is shown as text.
        folder: Folder that has `plots/`.
        folded: Headings of sections that are closed at first.
        images: File names in `plots/` to embed; another image is replaced by its text.
        photos: Names in `images` whose colours are not inverted on a dark page.
        charts: {image: data} for images that page.js replaces by an interactive chart.
        thumbnails: {source: PNG bytes} of further images to embed.
        filtered: Add a field that filters the rows of the tables.
    """
    charts, own = charts or {}, {f"plots/{name}": name for name in images}

    def embedded(found: re.Match[str]) -> str:
        source, text = unescape(found[1]), found[2]
        if thumbnails and source in thumbnails:
            return f'<img src="{_data(thumbnails[source])}" class="plot" alt="{text}" />'
        if source not in own:
            return f"[image: {text}]"
        kind = "photo" if own[source] in photos else "plot"
        name = f' id="{escape(source)}"' * (own[source] in charts)
        png = (folder / source).read_bytes()
        return f'<img src="{_data(png)}" class="{kind}"{name}{_size(png)} alt="{text}" />'

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = IMAGE.sub(embedded, body)
    body = ANSWER.sub(
        lambda found: f'<span class="answer {found[1].replace(" ", "-")}">{found[1]}</span>', body
    )
    body = re.sub(r"<p>([^<]*)</p>", _with_language, body)
    kind = ' class="filter"' * filtered
    body = body.replace("<table>", f'<div class="wide"><table{kind}>').replace(
        "</table>", "</table></div>"
    )
    body, contents = _with_anchors(body)
    body = CARD.sub(r'<section class="card">\n\1</section>\n', body)
    body = _fold(body, folded)
    before, *sections = re.split("(?=<h2|<details)", body, maxsplit=1)
    heading = re.search(r"<h1>(.*?)</h1>", body)
    data = "".join(
        f'<script type="application/json" data-image="plots/{escape(name)}">{_json(chart)}'
        "</script>\n"
        for name, chart in charts.items()
        if name in images
    )
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading[1] if heading else 'Report'}</title>\n"
        f"<style>{CSS}</style>\n{before}{contents}{''.join(sections)}"
        f"{data}<script>{SCRIPT}</script>\n</html>\n"
    )


def _with_anchors(body: str) -> tuple[str, str]:
    """Give each heading an id and a link; return the page and its list of contents."""
    names: dict[str, int] = {}
    listed: list[tuple[str, str, str]] = []

    def named(found: re.Match[str]) -> str:
        tag, inner = found[1], found[2]
        text = re.sub(r"<[^>]+>", "", inner)
        slug = re.sub(r"[^\w]+", "-", unescape(text).lower()).strip("-") or "section"
        names[slug] = names.get(slug, 0) + 1
        slug += f"-{names[slug]}" * (names[slug] > 1)
        listed.append((tag, slug, text))
        anchor = f'<a class="anchor" href="#{slug}" aria-label="link to this place">#</a>'
        return f'<{tag} id="{slug}">{inner}{anchor}</{tag}>'

    body = HEADING.sub(named, body)
    if sum(tag == "h2" for tag, _, _ in listed) < FEW:
        return body, ""
    items = "".join(
        f'<li class="{tag}"><a href="#{slug}">{text}</a></li>\n' for tag, slug, text in listed
    )
    return body, f'<nav class="contents" aria-label="Contents">\n<ul>\n{items}</ul>\n</nav>\n'


def _with_language(found: re.Match[str]) -> str:
    language = ' lang="zh"' * bool(CHINESE.search(found[1]))
    return f"<p{language}>{found[1]}</p>"


def _fold(body: str, folded: Collection[str]) -> str:
    for tag in ("h3", "h2"):
        parts = re.split(rf"(?=<{tag} )" if tag == "h2" else r"(?=<h[23] )", body)
        for index, part in enumerate(parts):
            found = re.match(rf'<{tag} (id="[^"]*")>(.*?)<a class="anchor".*?</{tag}>', part)
            if found and unescape(found[2]) in folded:
                rest = part[found.end() :]
                parts[index] = (
                    f"<details {found[1]}><summary>{found[2]}</summary>{rest}</details>\n"
                )
        body = "".join(parts)
    return body


def _size(png: bytes) -> str:
    """Return the style that keeps a narrow image from being enlarged to the width of the text."""
    width = int.from_bytes(png[16:20], "big")  # from the PNG header
    return f' style="max-width: {0.65 * width:.0f}px"' if 0 < width <= NARROW else ""


def _json(chart: Any) -> str:
    """Return JSON for an HTML element; escape `<`, so that no text can end the element."""
    text = json.dumps(chart, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
