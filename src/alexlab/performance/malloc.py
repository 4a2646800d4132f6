"""Set glibc's malloc thresholds so that large blocks are reused instead of returned.

A weight gradient of AlexNet's dense layers has 150 MB. By default glibc returns such a block to the
system when it is freed, and the system zeroes its pages when the next step allocates it again. With
high thresholds glibc keeps and reuses the block. On other systems than Linux nothing changes.
"""

import ctypes
import sys
from typing import Any

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h
KEEP, PAD = 1 << 30, 64 << 20  # bytes


def set_malloc_thresholds() -> None:
    """Set the thresholds for mapping, trimming and padding the heap."""
    if mallopt := _libc_function("mallopt"):
        for option, value in ((M_MMAP_THRESHOLD, KEEP), (M_TRIM_THRESHOLD, KEEP), (M_TOP_PAD, PAD)):
            mallopt(option, value)


def malloc_trim() -> None:
    """Return unused memory at the end of the heap to the system."""
    if trim := _libc_function("malloc_trim"):
        trim(0)


def _libc_function(name: str) -> Any:
    """Return a function of the C library; None if it is missing, as in musl."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
