"""Clipping and hooks under mixed precision with fused optimisers, by hand: gradient (3, 4)."""

import lightning as L
import pytest
import torch
from torch import nn

from alexlab.training import build
from alexlab.training.mixed_precision import UnscaledMixedPrecision
from tests.tiny import train


class Slope(L.LightningModule):
    """loss = 3 a + 4 b, for the weights (a, b) = (1, 1): 7, with the gradient (3, 4)."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.ones(2))
        self.losses, self.gradients = [], []

    def training_step(self, batch, batch_idx):
        return (self.weights * batch[0]).sum()

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.tensor([[3.0, 4.0]]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0, fused=True)

    def on_before_backward(self, loss):
        self.losses.append(loss.item())

    def on_before_optimizer_step(self, optimizer):
        self.gradients.append(self.weights.grad.tolist())


def fit(compose, tmp_path, precision, *overrides):
    """One step; 16-mixed has its scaler on the CPU, where Lightning would take bf16-mixed."""
    cfg = compose("trainer.precision=bf16-mixed", "trainer.accelerator=cpu", *overrides)
    trainer = build.trainer(cfg, max_epochs=1, default_root_dir=tmp_path)
    assert isinstance(trainer.precision_plugin, UnscaledMixedPrecision)
    if precision == "16-mixed":
        scaler = torch.amp.GradScaler("cpu")
        plugin = UnscaledMixedPrecision("16-mixed", "cpu", scaler)
        trainer.strategy.precision_plugin = plugin
    slope = Slope()
    trainer.fit(slope)
    return slope


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize(
    ("overrides", "step"),
    [
        ([], (3.0, 4.0)),
        (["trainer.gradient_clip_val=10"], (3.0, 4.0)),  # the norm is 5
        (["trainer.gradient_clip_val=1"], (0.6, 0.8)),
        (["trainer.gradient_clip_val=2", "+trainer.gradient_clip_algorithm=value"], (2.0, 2.0)),
    ],
)
def test_the_step_is_along_the_clipped_gradient(compose, tmp_path, precision, overrides, step):
    weights = fit(compose, tmp_path, precision, *overrides).weights.detach()
    assert (1 - weights).tolist() == pytest.approx(step, rel=1e-5)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_hooks_get_the_unscaled_loss_and_gradients(compose, tmp_path, precision):
    """NaNGuard and Diagnostics read them there."""
    slope = fit(compose, tmp_path, precision)
    assert slope.losses == [7.0]
    assert slope.gradients == [[3.0, 4.0]]


def test_a_step_whose_gradients_overflow_is_skipped(compose, tmp_path, monkeypatch):
    monkeypatch.setattr(
        Slope, "training_step", lambda self, batch, _: (self.weights * batch[0] * 1e38).sum()
    )
    slope = fit(compose, tmp_path, "16-mixed")
    assert slope.weights.tolist() == [1.0, 1.0]
    assert fit(compose, tmp_path, "bf16-mixed").weights.tolist() != [1.0, 1.0]


@pytest.mark.parametrize("optim", ["sgd", "adam", "adamw", "rmsprop"])
def test_every_optimiser_of_ours_clips_under_bf16(config, tmp_path, monkeypatch, optim):
    norms = []
    original = torch.optim.Optimizer.zero_grad

    def zero_grad(self, *args, **kwargs):
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        if gradients[0] is not None:
            norms.append(torch.stack([g.norm() for g in gradients]).norm().item())
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", zero_grad)
    clip = ["trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.01"]
    train(config(f"optim={optim}", *clip, "trainer.max_epochs=1"), tmp_path / "run")
    assert len(norms) == 3  # of four steps: the last gradients are never zeroed
    assert norms == pytest.approx([0.01] * 3, rel=1e-2)
