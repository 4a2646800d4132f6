"""What to do when the memory is not enough, in one line."""

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
    """Whether `error`, or what caused it, is a lack of memory, on the CPU or the device."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(text in str(error) for text in MESSAGES):
            return True
        error = error.__cause__
    return False


@contextmanager
def friendly_oom_errors(batch_size: int, resolution: int) -> Iterator[None]:
    """Turn a lack of memory in the block into a RuntimeError that says what to change.

    Raises:
        RuntimeError: There was one.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise RuntimeError(
            f"out of memory with batches of {batch_size} images of {resolution} px: lower"
            " data.batch_size or data.resolution, set trainer.auto_batch=true (takes each batch in"
            " parts), or choose a smaller model"
        ) from error
