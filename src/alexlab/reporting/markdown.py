"""Write Markdown: tables, and texts of users as they are, whatever they contain."""

import re
from collections.abc import Collection, Iterable, Sequence

from alexlab.errors import printable

NUMBER = re.compile(r"[-+]?[\d.,]+(e-?\d+)?%?( .*)?|-|")
# `_` between letters, `&` without a semicolon and `#` within a line are no markup
MARKUP = re.compile(r"[\\`*\[\]<>~$]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|^[#+-](?=\s)")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; columns of numbers, except the first, are aligned right."""
    lines = [list(head), *map(list, rows)]
    right = [i and all(NUMBER.fullmatch(row[i]) for row in lines[1:]) for i in range(len(head))]
    lines.insert(1, ["---:" if numbers else "---" for numbers in right])
    texts = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in texts)


def escape(text: object) -> str:
    """Return `text` so that Markdown shows it as it is: no markup, no formula, no control codes."""
    one_line = re.sub(r"\s*\n\s*", " ", str(text))
    return MARKUP.sub(lambda found: f"\\{found[0]}", printable(one_line))


def code(text: object) -> str:
    """Return `text` as a code span."""
    shown = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " * (len(fence) > 1)
    return f"{fence}{space}{shown}{space}{fence}"


def only_own_images(text: str, images: Collection[str]) -> str:
    """Return a page of which no image is shown but those of `plots/` in `images`, and no HTML.

    A viewer would load any other image, from anywhere.
    """
    own = "|".join(map(re.escape, images)) or "(?!)"
    caption = r"(?:\\.|[^\\\[\]])*"  # brackets in it are escaped
    page = re.sub(rf"!(?=\[)(?!\[{caption}\]\(plots/(?:{own})\))", r"!\\", text)
    return re.sub(r"(?<!\\)<(?=[a-zA-Z/!?])(?!https?://)", r"\\<", page)
