"""Tells glibc's allocator to keep big blocks.

A weight gradient of AlexNet's wide layers is 150 MB. By default glibc gives such a block back to
the system when it is freed, and the system fills it with zeros, page by page, when it is asked for
at the next step. Kept, it is simply used again. Elsewhere than on Linux this does nothing.
"""

import ctypes
import sys
from typing import Any

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
KEEP, PAD = 1 << 30, 64 << 20  # bytes


def set_malloc_thresholds() -> None:
    """Set the three thresholds."""
    if mallopt := _of_glibc("mallopt"):
        for option, value in ((M_MMAP_THRESHOLD, KEEP), (M_TRIM_THRESHOLD, KEEP), (M_TOP_PAD, PAD)):
            mallopt(option, value)


def malloc_trim() -> None:
    """Give what is kept and not used back to the system, as far as it lies at the heap's end."""
    if trim := _of_glibc("malloc_trim"):
        trim(0)


def _of_glibc(name: str) -> Any:
    """A function of the C library; None elsewhere, as in musl."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
