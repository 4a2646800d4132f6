"""Two ranks over gloo: on a terminal, and after the training as with NCCL. (More: test_resume.)"""

import os
import pty
import select
import signal
import time
from functools import partial

import pytest
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy

from alexlab.runs.folder import read_metrics
from alexlab.training.run import TrainingRun
from tests.tiny import forked, free_port, train

TIMEOUT_S = 100
DDP = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu", "data.batch_size=2"]


def start_rank(rank, port, cfg, folder, terminal=None):
    """The work of one rank, in a process of its own; with its standard error on a terminal."""
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    if terminal is not None:
        import sys

        os.environ["TERM"] = "xterm"
        os.dup2(terminal, 2)
        sys.stderr = os.fdopen(os.dup(2), "w")
        assert sys.stderr.isatty()
    if rank == 0:
        train(cfg, folder)
    else:
        TrainingRun(cfg, folder, {}, trial=False).run()


def wait(children, drain=None):
    """Exit codes; a rank that takes too long is killed. What a terminal shows is read meanwhile."""
    codes, shown, end = {}, b"", time.monotonic() + TIMEOUT_S
    while len(codes) < len(children) and time.monotonic() < end:
        if drain is not None and select.select([drain], [], [], 0.1)[0]:
            shown += os.read(drain, 1 << 16)
        for child in set(children) - set(codes):
            pid, status = os.waitpid(child, os.WNOHANG if drain is not None else 0)
            if pid:
                codes[child] = os.waitstatus_to_exitcode(status)
    for child in set(children) - set(codes):
        os.kill(child, signal.SIGKILL)
        codes[child] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [codes[child] for child in children], shown


@pytest.mark.slow
def test_training_on_a_terminal_does_not_wait_for_a_rank_without_a_bar(config, tmp_path):
    """The first rank's bar reads its metrics; torchmetrics would gather them from all ranks."""
    parent, terminal = pty.openpty()
    port, cfg = free_port(), config(*DDP, "trainer.max_epochs=6")
    children = [
        forked(partial(start_rank, rank, port, cfg, tmp_path / "run", terminal))
        for rank in range(2)
    ]
    codes, shown = wait(children, drain=parent)
    assert codes == [0, 0]
    assert b"images/s" in shown  # the bar was drawn
    assert read_metrics(tmp_path / "run")["status"] == "finished"
    assert read_metrics(tmp_path / "run")["effective_batch_size"] == 4


@pytest.mark.slow
def test_nothing_is_exchanged_while_the_net_is_on_the_cpu(config, tmp_path, monkeypatch):
    """With NCCL, Lightning's backend for GPUs, a tensor of the CPU cannot be exchanged.

    Between the end of the training and the start of the test the net is on the CPU.
    """
    on_device = []

    def moves(name, value):
        original = getattr(DDPStrategy, name)

        def call(self, *args, **kwargs):
            if value:
                on_device.append(True)
            result = original(self, *args, **kwargs)
            if not value:
                on_device.clear()
            return result

        monkeypatch.setattr(DDPStrategy, name, call)

    moves("setup", True)
    moves("teardown", False)
    for name in ("all_gather", "all_gather_into_tensor", "all_reduce", "broadcast"):
        original = getattr(dist, name)

        def exchange(*args, original=original, name=name, **kwargs):
            if not on_device:
                raise RuntimeError(f"{name}: No backend type associated with device type cpu")
            return original(*args, **kwargs)

        monkeypatch.setattr(dist, name, exchange)
    port, cfg = free_port(), config(*DDP)
    children = [forked(partial(start_rank, rank, port, cfg, tmp_path / "run")) for rank in range(2)]
    assert wait(children)[0] == [0, 0]
    assert read_metrics(tmp_path / "run")["status"] == "finished"


@pytest.mark.slow
def test_no_step_broadcasts(config, tmp_path, monkeypatch):
    """Lightning broadcasts before each batch whether it has received a SIGTERM, and waits twice."""
    calls, before_batches, broadcast = [], [], dist.broadcast

    def counted(*args, **kwargs):
        calls.append(args)
        return broadcast(*args, **kwargs)

    monkeypatch.setattr(dist, "broadcast", counted)
    port, cfg = free_port(), config(*DDP, "trainer.max_epochs=1")

    def first_rank():
        monkeypatch.setattr("tests.training.test_ddp.train", partial(train, at_batch=note))
        start_rank(0, port, cfg, tmp_path / "run")
        assert len(before_batches) == 3
        assert len(set(before_batches)) == 1, before_batches

    def note(batch):
        before_batches.append(len(calls))

    second_rank = partial(start_rank, 1, port, cfg, tmp_path / "run")
    assert wait([forked(first_rank), forked(second_rank)])[0] == [0, 0]
