"""The lines and the bar of a run's progress, on terminals of several widths."""

import io
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from alexlab.training.callbacks import progress
from alexlab.training.callbacks.progress import EpochProgress
from alexlab.training.tasks import ClassificationMetrics

ROW = {
    **{"epoch": 7.0, "lr": 0.01, "train/loss": 1.65123, "train/acc": 0.289},
    **{"val/loss": 0.0625, "val/acc": 0.35, "seconds": 1.55},
}


class Trainer:
    is_global_zero, max_epochs, current_epoch, num_training_batches = True, 100, 6, 44


@pytest.fixture
def make(monkeypatch):
    """make(width) returns the callback and what its bar writes; None for a file."""

    def made(width):
        written = io.StringIO()
        console = Console(file=written, force_terminal=width is not None, width=width or 80)
        monkeypatch.setattr(progress, "Console", lambda **_: console)
        callback = EpochProgress(SimpleNamespace(rows=[ROW], rates=[435.2]), metric="acc")
        callback.on_train_epoch_start(Trainer, None)
        return callback, written

    return made


SHORT = "epoch   7/100  lr 0.01    train loss 1.65 acc 28.9%  val loss 0.0625 acc 35.0%"
LONG = (
    "epoch   7/100   lr 0.01     train loss 1.65 acc 28.9%   val loss 0.0625 acc 35.0%"
    "   435 images/s  1.6 s"
)


@pytest.mark.parametrize(("width", "line"), [(80, SHORT), (110, LONG), (None, LONG)])
def test_the_line_of_an_epoch_fits_the_terminal(make, capsys, width, line):
    make(width)[0].on_train_epoch_end(Trainer, None)
    assert capsys.readouterr().out == line + "\n"


def test_images_per_second_are_those_of_the_batches_so_far(make, monkeypatch):
    """Three batches of 8 images in 2 s: 12 images/s."""
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    callback, shown = make(80)[0], []
    monkeypatch.setattr(callback.bar, "update", lambda task, **fields: shown.append(fields))
    learner = SimpleNamespace(metrics=lambda split: (None, ClassificationMetrics(2)))
    learner.metrics("train")[1].update(torch.eye(2), torch.arange(2))
    outputs, batch = {"loss": torch.tensor(0.5)}, (None, torch.zeros(8))
    callback.on_train_batch_end(Trainer, learner, outputs, batch, 2)
    assert shown[0]["completed"] == 3
    assert shown[0]["status"].endswith("  12 images/s")


def test_no_bar_and_no_hidden_cursor_stay_after_ctrl_c(make):
    callback, written = make(80)
    assert "\x1b[?25l" in written.getvalue()  # hidden, as the bar is drawn
    callback.on_exception(Trainer, None, KeyboardInterrupt())
    end = written.getvalue().rpartition("7/100")[2]
    assert "\x1b[?25h" in end
    assert end.endswith("\x1b[1A\x1b[2K")  # up to the bar's line, which is erased


def test_a_bar_leaves_room_for_the_echo_of_ctrl_c(make):
    """80 columns, of which ^C takes two: a longer line is broken, and its start stays."""
    callback, written = make(80)
    callback.bar.update(
        callback.bar_task, completed=44, status="loss 0.0625  acc 100.0%  12345 images/s"
    )
    callback.bar.refresh()
    line = written.getvalue().rpartition("\r\x1b[2K")[2]
    text = "".join(part.partition("m")[2] for part in f"\x1b[m{line}".split("\x1b["))
    assert 60 < len(text.rstrip("\n")) <= 78
