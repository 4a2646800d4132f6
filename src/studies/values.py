"""Values of an axis, as text: read, compared and shown."""

import math
import re
from typing import Any


def plain(value: Any) -> str:
    """A value without quotes and, when it is a path, without its folders."""
    return re.sub(r"[^\s,\[]*/", "", str(value).strip("'\"")) or str(value)


def is_number(text: str) -> bool:
    """Whether `text` reads as a number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def same(one: Any, other: Any) -> bool:
    """Whether two values of an axis are one: 0.01 and "1e-2", true and "True"."""
    return _canonical(one) == _canonical(other)


def _canonical(value: Any) -> str:
    text = re.sub(r"[\s'\"]", "", str(value)).lower()
    return repr(float(text)) if is_number(text) else {"none": "null"}.get(text, text)
