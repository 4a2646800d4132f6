"""Turn a Markdown page into one self-contained HTML file."""

import base64
import re
from collections.abc import Collection
from pathlib import Path

from markdown_it import MarkdownIt

CSS = """
:root { color-scheme: light }
body { font: 16px/1.55 system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; color: #1d2530;
  background: #fff; max-width: 860px; margin: 2.5rem auto 5rem; padding: 0 20px }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 1rem }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .8rem; padding-bottom: .3rem;
  border-bottom: 1px solid #dde3ea }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem }
table { border-collapse: collapse; width: 100%; font-size: .86rem; margin: .8rem 0;
  font-variant-numeric: tabular-nums }
th { text-align: left; font-weight: 600; border-bottom: 2px solid #c6cfd9; vertical-align: bottom }
th, td { padding: .34rem .6rem }
td { border-bottom: 1px solid #e8ecf1; vertical-align: top }
blockquote { margin: .5rem 0; padding: .1rem .9rem; border-left: 3px solid #b9c6d6; color: #4a5767 }
pre { background: #f4f6f9; padding: .7rem .9rem; border-radius: 6px; font-size: .82rem;
  white-space: pre-wrap; overflow-wrap: anywhere }
code { background: #f4f6f9; padding: .1em .3em; border-radius: 4px; font-size: .88em }
pre code { padding: 0 }
td, p { overflow-wrap: anywhere }
td:first-child { min-width: 7.5em }
img { display: block; width: 100%; max-width: 720px; margin: 1.6rem auto 0 }
p > em:only-child { display: block; text-align: center; color: #5c6978; font-size: .86rem }
a { color: #0b62a4 }
h1 + p { font-size: 1.1rem }
.card { border: 1px solid #dde3ea; border-radius: 8px; padding: .2rem 1.1rem .4rem;
  margin: 1.2rem 0 }
.card h3 { margin-top: .8rem }
.card ul { font-size: .88rem; color: #3d4855; padding-left: 1.2rem }
@media (max-width: 640px) {
  body { margin-top: 1.2rem; padding: 0 14px }
  p:has(> img), .wide { overflow-x: auto }
  img { width: 640px; max-width: none }
}
details { margin: 1.6rem 0 }
summary { font-size: 1.25rem; font-weight: 600; cursor: pointer; padding-bottom: .3rem;
  border-bottom: 1px solid #dde3ea }
.answer { padding: .08em .5em; border-radius: 1em; font-weight: 600; white-space: nowrap }
.more, .supported { background: #d6f0e6; color: #00563f }
.less, .contradicted { background: #fbe0d1; color: #8a3a00 }
.no-difference-that-matters, .not-supported { background: #dbe9f5; color: #0b3f66 }
.cannot-tell { background: #e7eaee; color: #3d4855 }
.not-tested { background: #fff3cf; color: #6b5200 }
"""
ANSWER = re.compile(
    r"<strong>(more|less|no difference that matters|cannot tell|not tested"
    r"|supported|contradicted|not supported)</strong>"
)
CARD = re.compile(r"(<h3>.*?)(?=<h[23]>|\Z)", re.DOTALL)  # a claim with its answer
CHINESE = re.compile(r"[\u4e00-\u9fff]")


IMAGE = re.compile(r'<img src="([^"]*)" alt="([^"]*)"[^>]*>')  # as markdown-it writes it
# even if a text of a stranger got past all else: a browser loads and runs nothing
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def html_page(
    markdown: str, folder: Path, folded: Collection[str] = (), images: Collection[str] = ()
) -> str:
    """Return the page as one file that loads nothing.

    Args:
        markdown: The page; HTML in it is shown as text.
        folder: `plots/` in it has the images.
        folded: Headings of sections that are closed at first.
        images: Names of the files in `plots/` that are embedded; another image becomes its text.
    """
    own = {f"plots/{name}" for name in images}

    def embedded(found: re.Match[str]) -> str:
        source, text = found[1], found[2]
        if source not in own:
            return f"[image: {text}]"
        return f'<img src="{_data(folder / source)}" alt="{text}" />'

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = IMAGE.sub(embedded, body)
    body = ANSWER.sub(
        lambda found: f'<span class="answer {found[1].replace(" ", "-")}">{found[1]}</span>', body
    )
    body = re.sub(r"<p>([^<]*)</p>", _with_language, body)
    body = body.replace("<table>", '<div class="wide"><table>').replace(
        "</table>", "</table></div>"
    )
    body = CARD.sub(r'<section class="card">\n\1</section>\n', body)
    body = _fold(body, folded)
    heading = re.search(r"<h1>(.*?)</h1>", body)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading[1] if heading else 'Report'}</title>\n"
        f"<style>{CSS}</style>\n{body}</html>\n"
    )


def _with_language(found: re.Match[str]) -> str:
    language = ' lang="zh"' * bool(CHINESE.search(found[1]))
    return f"<p{language}>{found[1]}</p>"


def _fold(body: str, folded: Collection[str]) -> str:
    first, *sections = re.split(r"(?=<h2>)", body)
    for index, section in enumerate(sections):
        heading, _, rest = section.removeprefix("<h2>").partition("</h2>")
        if heading in folded:
            sections[index] = f"<details><summary>{heading}</summary>{rest}</details>\n"
    return "".join([first, *sections])


def _data(image: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(image.read_bytes()).decode()
