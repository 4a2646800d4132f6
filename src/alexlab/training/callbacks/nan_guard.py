"""Stop training when the loss becomes NaN or infinite."""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from alexlab.training.callbacks.after_epoch import AfterEpoch

EVERY = 16  # steps between two reads of the losses on a GPU; a read waits for the GPU


class NaNGuard(AfterEpoch):
    """Raise FloatingPointError when the training loss is NaN or infinite.

    On a CPU this happens before the update of that step. On a GPU the losses of `EVERY` steps are
    read together, and before each save. The message has the largest gradient of an earlier step,
    since a NaN loss makes all gradients NaN.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[str, Tensor]] = []  # epoch, step and rate; loss []
        self._parameters: list[tuple[str, nn.Parameter]] = []
        self._gradients: dict[str, Tensor] = {}  # of the previous step
        self._largest = ""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the gradients of the previous step until the loss of this step is known."""
        if not self._parameters:  # listing them takes 0.1 ms
            self._parameters = list(pl_module.named_parameters())
        self._gradients = {name: p.grad for name, p in self._parameters if p.grad is not None}

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Check the loss, or store it for the next read."""
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        where = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step + 1}"
        self._losses.append((f"{where}, at a learning rate of {rate:g}", loss.detach()))
        if loss.device.type == "cpu" or len(self._losses) >= EVERY:
            self._check(previous_step=trainer.global_step)
        self._gradients = {}  # the backward pass needs their memory

    def _check(self, previous_step: int = 0) -> None:
        values = torch.stack([loss for _, loss in self._losses]).tolist()
        on_cpu = self._losses[0][1].device.type == "cpu"
        bad = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
        if self._gradients and (not on_cpu if bad is None else not self._largest):
            self._largest = f"{_largest(self._gradients)} at step {previous_step}"
        if bad is not None:
            gradient = self._largest and f"the largest gradient was {self._largest}"
            raise FloatingPointError(
                f"the training loss is {values[bad]} in {self._losses[bad][0]}"
                f" ({gradient or 'there was no earlier step'});"
                " lower optim.lr, or set trainer.gradient_clip_val"
            )
        self._losses.clear()

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check before a checkpoint is saved."""
        if self._losses:
            self._check()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check before other callbacks record the epoch."""
        if self._losses:
            self._check()


def _largest(gradients: dict[str, Tensor]) -> str:
    """Describe the largest entry of all gradients (or a NaN) and its layer."""
    peaks = torch._foreach_norm(list(gradients.values()), math.inf)
    values = [math.inf if math.isnan(v) else v for v in torch.stack(list(peaks)).tolist()]
    value, name = max(zip(values, gradients, strict=True), key=lambda pair: pair[0])
    shown = f"{value:.3g}" if math.isfinite(value) else "NaN or infinite"
    return f"{shown} in {name.removeprefix('net.').rpartition('.')[0]}"
