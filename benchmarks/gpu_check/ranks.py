"""Train with two ranks that share one device, on a pseudo-terminal."""

import contextlib
import os
import pty
import re
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from alexlab.runs.folder import RunFolder, read_metrics
from alexlab.training.run import TrainingRun
from benchmarks.gpu_check import names
from benchmarks.gpu_check.context import Context, Result
from benchmarks.gpu_check.training import command_train, compose, shapes

LIMIT_S = 70.0
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def two_ranks(context: Context) -> Iterator[Result]:
    """Train with gloo and two ranks; NCCL refuses two ranks on one GPU.

    The first rank writes to a terminal, and draws a progress bar. No rank may gather a CPU tensor
    during training on a GPU, since this fails with NCCL.
    """
    folder, port = context.run_dir("ranks.terminal"), free_port()
    size = [*shapes(300), "model=alexnet", "model.width=0.25", "model.head=[64,64]"]
    size += ["trainer.max_epochs=2", "trainer.strategy=ddp", "+trainer.num_nodes=2"]
    second = os.fork()
    if second == 0:
        _rank(context, 1, port, folder, size)
    first, terminal = pty.fork()
    if first == 0:
        _rank(context, 0, port, folder, size)
    start = time.monotonic()
    shown = _read(terminal, start + LIMIT_S)
    seconds = time.monotonic() - start
    codes = [_code(pid) for pid in (first, second)]
    print(ESCAPE.sub("", shown))
    metrics = read_metrics(folder) or {}
    ok = codes == [0, 0] and metrics.get("status") == "finished"
    lines = ESCAPE.sub("", shown).strip().splitlines()
    text = f"exit codes {codes}, {seconds:.1f} s" + ("" if ok else f": {' | '.join(lines[-3:])}")
    yield Result("ranks.terminal", ok, text[:400])
    drawn = "images/s" in shown and "\x1b" in shown
    yield Result("ranks.bar", drawn, "a bar was drawn" if drawn else "no bar was drawn")
    batch = metrics.get(names.EFFECTIVE_BATCH)
    yield Result("ranks.effective_batch", batch == 32, f"{batch} (expected 2 x 16)")


def _read(terminal: int, until: float) -> str:
    """Read the output of the terminal until it is closed, or until the time `until`."""
    parts = []
    while time.monotonic() < until:
        ready, _, _ = select.select([terminal], [], [], max(0.0, until - time.monotonic()))
        try:
            part = os.read(terminal, 1 << 16) if ready else b""
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode(errors="replace")


def _code(pid: int) -> int:
    """Return the exit code of a process; kill it if it does not end within five seconds."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _rank(context: Context, rank: int, port: int, folder: Path, size: list[str]) -> None:
    """Train one of two ranks, each on its own node for Lightning, then exit."""
    code = 1
    if rank == 0:  # pty.fork has replaced the file descriptors, but not these objects
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    try:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TERM": "xterm"}
        os.environ |= {"NODE_RANK": str(rank), "LOCAL_RANK": "0", "COLUMNS": "100"}
        use_gloo()
        if context.on_gpu:
            refuse_cpu_tensors()
        cfg = compose(context, *size)
        with RunFolder(folder, keep=True) if rank == 0 else contextlib.nullcontext() as run:
            TrainingRun(cfg, folder, run.record if run else {}, trial=False).run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def use_gloo() -> None:
    """Make Lightning's DDP use gloo, also on a GPU."""
    from lightning.pytorch.strategies import ddp

    original = ddp._init_dist_connection

    def connect(cluster: Any, backend: str, *, device_id: Any = None, **others: Any) -> None:
        original(cluster, "gloo", **others)

    ddp._init_dist_connection = connect


def refuse_cpu_tensors() -> None:
    """Make `all_gather` and `all_reduce` fail on CPU tensors, as with NCCL."""
    for name in ("all_gather", "all_reduce", "all_gather_into_tensor"):
        original = getattr(torch.distributed, name)

        def checked(*args: Any, original: Any = original, **kwargs: Any) -> Any:
            tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)]
            if any(tensor.is_cpu for tensor in tensors):
                raise RuntimeError("No backend type associated with device type cpu")
            return original(*args, **kwargs)

        setattr(torch.distributed, name, checked)


def nccl(context: Context) -> Iterator[Result]:
    """Train a single rank of DDP with NCCL on one GPU."""
    settings = [*shapes(200), "trainer.max_epochs=2", "trainer.strategy=ddp"]
    done, metrics = command_train(context, "ranks.nccl", *settings)
    ok = done.code == 0 and metrics.get("status") == "finished"
    yield Result("ranks.nccl", ok, f"{done.seconds:.1f} s" if ok else done.end)
