"""Look-up by name, with near matches when there is none."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")
FEW = 20  # choices are listed up to here


def near(name: str, choices: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: near matches, and choices if few."""
    options = list(choices)
    matches = get_close_matches(name, options, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(matches)}?" if matches else ""
    return hint + (f" (choices: {', '.join(options)})" if 0 < len(options) <= FEW else "")


def choose(argument: str, value: str, table: Mapping[str, T]) -> T:
    """Return ``table[value]``; ValueError names the argument, near matches and all choices."""
    if isinstance(value, str) and value in table:
        return table[value]
    raise ValueError(f"{argument}={value!r} is unknown{near(str(value), table)}")
