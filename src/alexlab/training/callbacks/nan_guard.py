"""Numbers gone bad end a run: what follows a loss that is not a number is not training."""

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

EVERY = 16  # steps between two looks at a GPU's losses, each of which waits for the GPU


class NaNGuard(Checkpoint):
    """Fails the run when its training loss is NaN or infinite, before that step's update.

    On a GPU the losses of `EVERY` steps are looked at together, and before each save. The gradients
    told are those of an earlier step: once the loss is bad, all of them are.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[str, Tensor]] = []  # where, loss []
        self._gradients: dict[str, Tensor] = {}  # of the step before
        self._largest = ""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Hold on to the gradients of the step before, until this step's loss is known."""
        named = pl_module.named_parameters()
        self._gradients = {name: p.grad for name, p in named if p.grad is not None}

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Look at the loss."""
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        where = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step + 1}"
        self._losses.append((f"{where}, at a learning rate of {rate:g}", loss.detach()))
        if loss.device.type == "cpu" or len(self._losses) >= EVERY:
            self._look(before=trainer.global_step)
        self._gradients = {}  # their memory is needed now

    def _look(self, before: int = 0) -> None:
        values = torch.stack([loss for _, loss in self._losses]).tolist()
        on_cpu = self._losses[0][1].device.type == "cpu"
        bad = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
        if self._gradients and (not on_cpu if bad is None else not self._largest):
            self._largest = f"{_largest(self._gradients)} at step {before}"
        if bad is not None:
            told = f"the largest gradient was {self._largest}" if self._largest else "no step taken"
            raise FloatingPointError(
                f"the training loss is {values[bad]} in {self._losses[bad][0]} ({told}):"
                " lower optim.lr, or set trainer.gradient_clip_val"
            )
        self._losses.clear()

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look before anything is saved."""
        if self._losses:
            self._look()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look before the epoch counts."""
        if self._losses:
            self._look()


def _largest(gradients: dict[str, Tensor]) -> str:
    """The largest entry of all gradients, or one that is not a number, and its layer."""
    peaks = torch._foreach_norm(list(gradients.values()), math.inf)
    values = [math.inf if math.isnan(v) else v for v in torch.stack(list(peaks)).tolist()]
    value, name = max(zip(values, gradients, strict=True), key=lambda pair: pair[0])
    shown = f"{value:.3g}" if math.isfinite(value) else "not a number"
    return f"{shown} in {name.removeprefix('net.').rpartition('.')[0]}"
