"""Write Markdown tables, and escape texts that users wrote."""

import re
from collections.abc import Collection, Iterable, Sequence

from alexlab.errors import printable

NUMBER = re.compile(r"[-+]?[\d.,]+(e-?\d+)?%?( .*)?|-|")
# `_` between letters, `&` without a semicolon and `#` within a line are not markup
MARKUP = re.compile(r"[\\`*\[\]<>~$]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|^[#+-](?=\s)")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; align columns of numbers right, except the first column."""
    lines = [list(head), *map(list, rows)]
    right = [i and all(NUMBER.fullmatch(row[i]) for row in lines[1:]) for i in range(len(head))]
    lines.insert(1, ["---:" if numbers else "---" for numbers in right])
    texts = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in texts)


def escape(text: object) -> str:
    """Escape `text` and join its lines, so that Markdown shows it as plain text."""
    one_line = re.sub(r"\s*\n\s*", " ", str(text))
    return MARKUP.sub(lambda found: f"\\{found[0]}", printable(one_line))


def code(text: object) -> str:
    """Return `text` as a code span."""
    shown = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " * (len(fence) > 1)
    return f"{fence}{space}{shown}{space}{fence}"


def only_own_images(text: str, images: Collection[str]) -> str:
    """Escape HTML in a page, and each image that is not in `plots/` with its name in `images`.

    A viewer of the page would load other images from any address.
    """
    own = "|".join(map(re.escape, images)) or "(?!)"
    caption = r"(?:\\.|[^\\\[\]])*"  # brackets in it are escaped
    page = re.sub(rf"!(?=\[)(?!\[{caption}\]\(plots/(?:{own})\))", r"!\\", text)
    return re.sub(r"(?<!\\)<(?=[a-zA-Z/!?])(?!https?://)", r"\\<", page)
