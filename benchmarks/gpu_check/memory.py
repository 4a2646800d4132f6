"""Check runs for which the memory of the device is not sufficient."""

import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch

from benchmarks.gpu_check import names
from benchmarks.gpu_check.context import Context, Result
from benchmarks.gpu_check.training import Done, command_train, shapes, train

LARGE = ["model=alexnet", "model.head=[16,16]", "trainer.max_epochs=1"]
BATCH = 256
# share of the memory of such batches: too little for a whole batch, but enough for its prepared
# images and small parts of it
SHARE = 0.6


def told(done: Done) -> bool:
    """Return whether a command has failed with a one-line error about memory."""
    errors = [line for line in done.output.splitlines() if line.startswith("error: ")]
    return done.code == 1 and len(errors) == 1 and "out of memory" in errors[0]


def too_large(context: Context) -> Iterator[Result]:
    """Train with more memory than there is; a one-line error must tell what to do."""
    if not context.on_gpu:
        wide = ["model=alexnet", "model.head=[2000000000]", "trainer.max_epochs=1"]
        done, _ = command_train(context, "memory.large", *shapes(100), *wide)
        yield Result("memory.large", told(done), done.end)
        return
    size = [*shapes(600, 224, BATCH), *LARGE]
    train(context, "memory.enough", *size)
    _, total = torch.cuda.mem_get_info()
    limit = SHARE * torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(limit / total)
    try:
        train(context, "memory.large", *size)
        said = f"{limit / 2**20:.0f} MB were enough"
    except RuntimeError as error:
        said = str(error)
    ok = said.startswith(f"out of memory with batches of {BATCH} images") and "auto_batch" in said
    yield Result("memory.large", ok, said[:200])
    torch.cuda.empty_cache()
    run = train(context, "memory.auto_batch", *size, "trainer.auto_batch=true")
    torch.cuda.set_per_process_memory_fraction(1.0)
    part = run.metrics[names.MICRO_BATCH]
    ok = run.metrics["status"] == "finished" and isinstance(part, int) and part < BATCH
    yield Result("memory.auto_batch", ok, f"batches of {BATCH} in parts of {part}")


def occupy(connection: Connection) -> None:
    """Allocate all of the GPU's memory except 150 MB, until a message arrives."""
    torch.ones(1, device="cuda")
    free, _ = torch.cuda.mem_get_info()
    taken = [torch.empty(max(0, free - (150 << 20)), dtype=torch.uint8, device="cuda")]
    connection.send(torch.cuda.mem_get_info()[0])
    connection.recv()
    del taken


def crowded(context: Context) -> Iterator[Result]:
    """Train while another process holds the memory, so that CUDA itself fails to start.

    CUDA must not be initialised here, since the other process is a fork of this one.
    """
    method = get_context("fork")
    ours, theirs = method.Pipe()
    other = method.Process(target=occupy, args=(theirs,))
    other.start()
    try:
        if not ours.poll(60):
            raise TimeoutError("the other process has not taken the memory")
        left = ours.recv()
        done, _ = command_train(context, "memory.crowded", *shapes(100), "trainer.max_epochs=1")
        text = f"{left >> 20} MB were free: {done.end}"
        yield Result("memory.crowded", told(done), text)
    finally:
        ours.send(None)
        other.join(20)
        other.kill()
        time.sleep(1)  # the driver needs a moment to free the memory
