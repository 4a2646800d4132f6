"""Turn a Markdown page into one self-contained HTML file.

The page loads nothing. Its own script (page.js) adds what paper has not: copy buttons, filters and
interactive charts; without scripts all texts, tables and plots are there.
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
NARROW = 800  # pixels: these plots are narrower than a column of text
FEW = 3  # sections: a shorter page needs no contents

IMAGE = re.compile(r'<img src="([^"]*)" alt="([^"]*)"[^>]*>')  # as markdown-it writes it
# even if a text of a stranger got past all else: a browser loads nothing, and runs only page.js
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
    """Return the page as one file that loads nothing.

    Args:
        markdown: The page; HTML in it is shown as text.
        folder: `plots/` in it has the images.
        folded: Headings of sections that are closed at first.
        images: Names of the files in `plots/` that are embedded; another image becomes its text.
        photos: Those of the images whose colours stay as they are on a dark page.
        charts: {image: data} of the images that page.js replaces by an interactive chart.
        thumbnails: {source: PNG file} of further images that are embedded.
        filtered: Whether the tables get a field to filter their rows.
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
    """Give each heading a name that links can use; return the page and its list of contents."""
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
    """Keep an image small that would be blown up to the width of the text."""
    width = int.from_bytes(png[16:20], "big")  # where PNG has it
    return f' style="max-width: {0.65 * width:.0f}px"' if 0 < width <= NARROW else ""


def _json(chart: Any) -> str:
    """Return JSON that stands in HTML: no text in it can end the element."""
    text = json.dumps(chart, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
