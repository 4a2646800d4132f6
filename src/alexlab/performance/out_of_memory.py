"""Recognise out-of-memory errors and explain them in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

MESSAGES = (  # parts of RuntimeErrors of torch and of the libraries that it calls
    "can't allocate memory",
    "std::bad_alloc",
    "could not create a ",  # memory, or a primitive: oneDNN
    "backend out of memory",  # MPS
    "error: out of memory",  # CUDA error, HIP error: a context, pinned memory, a full GPU
    "'out of memory'",  # NCCL, RCCL
    "_ALLOC_FAILED",  # CUBLAS_STATUS_, CUDNN_STATUS_, CUSOLVER_STATUS_, CUFFT_, HIPFFT_, ...
    "_ALLOCATION_FAILED",  # CUDNN_STATUS_INTERNAL_ERROR_HOST_, ..._DEVICE_
    "miopenStatusAllocFailed",
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
def friendly_oom_errors(
    batch_size: int, resolution: int, *, auto_batch: bool = False
) -> Iterator[None]:
    """Replace an out-of-memory error in the block by a RuntimeError that names the settings.

    Args:
        batch_size: Number of images per batch.
        resolution: Side of the images in pixels.
        auto_batch: Whether batches are already split into parts.

    Raises:
        RuntimeError: If the block runs out of memory.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        helps = "" if auto_batch else " set trainer.auto_batch=true (computes each batch in parts),"
        raise RuntimeError(
            f"out of memory with batches of {batch_size} images of {resolution} px"
            f"{', even in parts' * auto_batch}: lower data.batch_size or data.resolution,{helps} or"
            " choose a smaller model"
        ) from error
