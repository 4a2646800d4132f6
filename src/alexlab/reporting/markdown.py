"""Write Markdown tables."""

import re
from collections.abc import Iterable, Sequence

NUMBER = re.compile(r"[-+]?[\d.,]+(e-?\d+)?%?( .*)?|-|")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; columns of numbers, except the first, are aligned right."""
    lines = [list(head), *map(list, rows)]
    right = [i and all(NUMBER.fullmatch(row[i]) for row in lines[1:]) for i in range(len(head))]
    lines.insert(1, ["---:" if numbers else "---" for numbers in right])
    texts = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in texts)
