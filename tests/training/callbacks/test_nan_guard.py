"""Losses that are no number: the place, the rate, the gradient, and what stays on the disk."""

import re
from functools import partial

import pytest
import torch
from torch import nn

from alexlab.runs.checkpoint import load, verify_checksum
from alexlab.runs.folder import LAST, read_metrics
from alexlab.training.callbacks.nan_guard import EVERY, NaNGuard
from tests.tiny import train


@pytest.fixture
def config(config):
    return partial(config, "save_every_s=0")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_it_stops_at_the_step_and_the_last_good_checkpoint_stays(config, tmp_path, bad, hit):
    folder = tmp_path / "run"
    cfg = config("trainer.max_epochs=3")

    def poison(task, batch, *args):
        """In the seventh step, the third of the second epoch."""
        poison.steps += 1
        return bad if poison.steps == 7 else 1.0

    poison.steps = 0
    with pytest.raises(FloatingPointError) as caught:
        train_with_loss(cfg, folder, poison)
    message = str(caught.value)
    assert f"the training loss is {bad} in epoch 2, step 7, at a learning rate of 0.0" in message
    assert re.search(
        r"the largest gradient was [\d.e+-]+ in (features|classifier)\.\w+ at step 6", message
    )
    assert read_metrics(folder)["status"] == "failed"
    assert message in read_metrics(folder)["error"]
    verify_checksum(folder / LAST)
    assert load(folder / LAST)["global_step"] == 6  # saved after each step
    hit(f"a loss of {bad}")


def train_with_loss(cfg, folder, factor):
    """Train with the loss of each step multiplied."""
    from alexlab.training import tasks

    original = tasks.Classification.loss

    def loss(self, outputs, targets):
        value = original(self, outputs, targets)
        return value * factor(self, outputs) if torch.is_grad_enabled() else value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.Classification, "loss", loss)
        train(cfg, folder)


class Step:
    """What the callback sees of a trainer and a learner."""

    def __init__(self):
        self.net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.optimizers = [torch.optim.SGD(self.net.parameters(), lr=0.5)]
        self.current_epoch, self.global_step = 0, 0

    def named_parameters(self):
        return ((f"net.{name}", p) for name, p in self.net.named_parameters())

    def take(self, finite, loss, gradients):
        finite.on_train_batch_start(self, self, None, 0)
        finite.on_before_backward(self, self, loss)
        for p, value in zip(self.net.parameters(), gradients, strict=True):
            p.grad = torch.full_like(p, value)
        self.global_step += 1


def test_the_layer_of_the_largest_gradient_is_named():
    finite, step = NaNGuard(), Step()
    step.take(finite, torch.tensor(1.0), [1.0, -7.0, 3.0, 2.0])
    with pytest.raises(FloatingPointError, match=r"was 7 in 0 at step 1\)"):
        step.take(finite, torch.tensor(float("nan")), [0.0] * 4)


def test_a_gradient_that_is_no_number_is_named():
    finite, step = NaNGuard(), Step()
    step.take(finite, torch.tensor(1.0), [1.0, 2.0, float("nan"), 9.0])
    with pytest.raises(FloatingPointError, match=r"was NaN or infinite in 1 at step 1\)"):
        step.take(finite, torch.tensor(float("nan")), [0.0] * 4)


def test_a_device_is_waited_for_once_in_a_while_and_the_first_bad_step_is_named():
    """The meta device's numbers cannot be read at all: each look would raise."""

    class Remote(torch.Tensor):
        looks = 0

        @property
        def device(self):
            return torch.device("cuda")

        def tolist(self):
            Remote.looks += 1
            return torch.Tensor.tolist(self)

    finite, step = NaNGuard(), Step()
    for i in range(EVERY + 3):
        loss = torch.tensor(1.0 if i != EVERY + 1 else float("inf")).as_subclass(Remote)
        step.take(finite, loss, [float(i)] * 4)
    assert Remote.looks <= 2  # losses, gradients
    with pytest.raises(FloatingPointError, match=rf"inf in epoch 1, step {EVERY + 2}.*was 14 in 0"):
        finite.on_save_checkpoint(step, step, {})
