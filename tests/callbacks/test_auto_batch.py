"""Memory that is not enough, for real, and batches taken in parts."""

import os
import resource
from pathlib import Path

import pytest
import torch

from src.out_of_memory import explained, is_out_of_memory
from tests.tiny import tiny


@pytest.fixture
def config(compose, image_folder, tmp_path):
    return lambda *more: tiny(compose, image_folder, tmp_path, *more)


def short_of_memory(room):
    """Let this process take `room` more bytes of memory and no more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))


def test_what_torch_says_when_there_is_no_memory_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    wrapped = ValueError("while building")
    wrapped.__cause__ = MemoryError()
    assert is_out_of_memory(wrapped)


def test_it_is_explained_in_one_line():
    with pytest.raises(RuntimeError) as caught, explained(512, 224):
        torch.empty(1 << 50, dtype=torch.uint8)
    told = str(caught.value)
    assert told.startswith("out of memory with batches of 512 images of 224 px: lower data.batch")
    assert "trainer.auto_batch=true" in told
    assert len(told.splitlines()) == 1
