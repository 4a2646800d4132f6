"""Columns of history.csv that no other file can confirm: rate, throughput, wall-clock time."""

from types import SimpleNamespace

import pytest
import torch

from alexlab.runs.checkpoint import load
from alexlab.runs.folder import LAST, Stopped, read_history, read_metrics
from alexlab.training.callbacks import csv_history
from alexlab.training.callbacks.csv_history import History
from tests.tiny import train


def test_each_row_has_the_rate_of_its_own_epoch(config, tmp_path):
    schedule = ["sched=piecewise", "sched.milestones=[1]", "sched.lrs=[0.01]", "optim.lr=0.05"]
    train(config(*schedule, "trainer.max_epochs=3"), tmp_path / "run")
    rates = [float(row["lr"]) for row in read_history(tmp_path / "run")]
    assert rates == pytest.approx([0.05, 0.01, 0.01])


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(csv_history, "time", clock)
    return clock


def trainer(**values):
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    defaults = {"world_size": 1, "current_epoch": 0, "is_global_zero": True}
    metrics = {"train/loss": torch.tensor(1.0)}
    return SimpleNamespace(**defaults | values, optimizers=[optimizer], callback_metrics=metrics)


CPU = SimpleNamespace(device=torch.device("cpu"))


def test_images_per_second_count_the_images_of_all_ranks(tmp_path, clock):
    """Batches of 5 and 7 on each of two ranks in 3 s, then validation, which does not count."""
    history, two_ranks = History(tmp_path / "history.csv"), trainer(world_size=2)
    history.on_train_epoch_start(two_ranks, CPU)
    for images in (5, 7):
        history.on_train_batch_end(two_ranks, CPU, None, (None, torch.zeros(images)), 0)
        clock.now += 1.5
    history.on_validation_start(two_ranks, CPU)
    clock.now += 40
    history.on_train_epoch_end(two_ranks, CPU)
    assert history.rates == [24 / 3]
    assert history.rows[0]["seconds"] == 3.0
    history.on_train_epoch_start(two_ranks, CPU)  # another epoch starts at 0 images
    history.on_train_batch_end(two_ranks, CPU, None, (None, torch.zeros(5)), 0)
    clock.now += 0.5
    history.on_validation_start(two_ranks, CPU)
    history.on_train_epoch_end(two_ranks, CPU)
    assert history.rates == [24 / 3, 10 / 0.5]


def test_an_extra_column_holds_for_its_own_epoch_only(tmp_path):
    history = History(tmp_path / "history.csv")
    history.extra["diag/x"] = 0.5
    for epoch in (0, 1):
        history.on_train_epoch_end(trainer(current_epoch=epoch), CPU)
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines == ["epoch,lr,train/loss,seconds,diag/x", "1,0.0,1.0,0.0,0.5", "2,0.0,1.0,0.0,"]


def test_an_epoch_that_is_resumed_in_its_middle_has_its_own_clock_and_rate(tmp_path, clock):
    """Lightning calls on_train_start then, and not on_train_epoch_start; 9 s were spent before."""
    history = History(tmp_path / "history.csv")
    clock.now += 9
    history.on_train_start(trainer(), CPU)
    history.on_train_batch_end(trainer(), CPU, None, (None, torch.zeros(6)), 0)
    clock.now += 2
    history.on_validation_start(trainer(), CPU)
    history.on_train_epoch_end(trainer(), CPU)
    assert (history.rows[0]["seconds"], history.rows[0]["lr"], history.rates) == (2.0, 0.1, [3.0])


def test_rows_and_seconds_go_on_after_a_resume(tmp_path, clock):
    """20 s and one epoch before the stop, 5 s and one epoch after it."""
    before = History(tmp_path / "history.csv")
    clock.now += 20
    before.on_train_epoch_end(trainer(), CPU)
    history = History(tmp_path / "history.csv")
    history.load_state_dict(before.state_dict())
    clock.now += 5
    history.on_train_epoch_end(trainer(current_epoch=1), CPU)
    assert history.wall_s == 25.0
    assert [row["epoch"] for row in read_history(tmp_path)] == ["1", "2"]


def test_throughput_is_the_harmonic_mean_without_the_warm_up():
    history = History(None)
    history.rates = [1.0]
    assert history.images_per_s == 1.0
    history.rates = [1.0, 30.0, 60.0]  # as many images in 2 s as in 1 s: 40 per second
    assert history.images_per_s == pytest.approx(40.0)


def test_the_clock_is_read_when_the_device_has_finished(tmp_path, clock, monkeypatch):
    """Work of 2 s is still queued when the last batch has been handed to the device."""
    gpu = SimpleNamespace(device=torch.device("cuda", 1))

    def synchronize(device):
        assert device == gpu.device
        clock.now += 2

    monkeypatch.setattr(torch.accelerator, "synchronize", synchronize)
    history = History(tmp_path / "history.csv")
    history.on_train_epoch_start(trainer(), gpu)
    clock.now += 1
    history.on_validation_start(trainer(), gpu)
    history.on_train_epoch_end(trainer(), gpu)
    assert history.rows[0]["seconds"] == 3.0


def test_wall_time_goes_on_after_a_resume(config, tmp_path, clock):
    with pytest.raises(Stopped):
        train(config(), tmp_path / "run", stop_after=6, at_batch=lambda _: tick(clock))
    saved = load(tmp_path / "run" / LAST)["callbacks"]["History"]["wall_s"]
    assert saved == 60.0
    train(config(), tmp_path / "run", at_batch=lambda _: tick(clock))
    assert read_metrics(tmp_path / "run")["wall_s"] == 80.0  # two more batches


def tick(clock):
    clock.now += 10
