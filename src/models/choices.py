"""Look-up of an argument's value by name, with near matches when there is none."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


def choose(argument: str, value: str, table: Mapping[str, T]) -> T:
    """Return ``table[value]``; ValueError names the argument, near matches and all choices."""
    if isinstance(value, str) and value in table:
        return table[value]
    near = get_close_matches(str(value), table, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(f"{argument}={value!r} is unknown{hint} (choices: {', '.join(table)})")
