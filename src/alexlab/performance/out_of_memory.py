"""Recognise out-of-memory errors and explain them in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

MESSAGES = (  # by torch, oneDNN and the CUDA libraries, as a plain RuntimeError
    "can't allocate memory",
    "std::bad_alloc",
    "could not create a ",  # memory, or a primitive
    "backend out of memory",
    "_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether `error` or one of its causes means out of memory, on the CPU or a device."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(text in str(error) for text in MESSAGES):
            return True
        error = error.__cause__
    return False


@contextmanager
def friendly_oom_errors(batch_size: int, resolution: int) -> Iterator[None]:
    """Replace an out-of-memory error in the block by a RuntimeError that names the settings.

    Raises:
        RuntimeError: The block ran out of memory.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise RuntimeError(
            f"out of memory with batches of {batch_size} images of {resolution} px: lower"
            " data.batch_size or data.resolution, set trainer.auto_batch=true (computes each batch"
            " in parts), or choose a smaller model"
        ) from error
