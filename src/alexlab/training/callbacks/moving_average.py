"""Compute an exponential moving average of the weights on the device of the net."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(EMAWeightAveraging):
    """Average the weights and buffers after each step, on the device of the trainer.

    Lightning copies the net before it moves the net to its device. Its average stays on the CPU,
    and each step would wait for a copy of all weights to the CPU.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay)
        self.decay = decay

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Create the average on the trainer's device."""
        if stage == "fit":
            device = trainer.strategy.root_device
            self._average_model = DeviceAverage(pl_module, self.decay, device=device)


class DeviceAverage(AveragedModel):
    """Compute the same values as torch's `AveragedModel` with `get_ema_avg_fn`, in few kernels.

    torch averages one tensor at a time, and reads its counter from the device twice per update.
    Here one kernel averages many tensors, and only the first update reads the counter.
    """

    _is_first: bool | None = None  # None before the first update: a checkpoint may be loaded

    def __init__(self, model: nn.Module, decay: float, device: torch.device | None = None) -> None:
        super().__init__(model, device=device, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards the weights and buffers of `model`; copy them the first time."""
        if self._is_first is None:
            self._is_first = int(self.n_averaged) == 0
        if self._is_first:
            self._is_first = False
            return super().update_parameters(model)
        averages: list[Tensor] = []
        values: list[Tensor] = []
        ours = (*self.module.parameters(), *self.module.buffers())
        theirs = (*model.parameters(), *model.buffers())
        for average, value in zip(ours, theirs, strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:  # BatchNorm's count of batches
                average.copy_(self.decay * average + (1 - self.decay) * value)
        torch._foreach_mul_(averages, self.decay)
        torch._foreach_add_(averages, torch._foreach_mul(values, 1 - self.decay))
        self.n_averaged += 1
        return None


def validated_net(trainer: L.Trainer, learner: Any) -> Any:
    """Return the net that is validated: the averaged net during a training with `ema_decay`."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging) and (average := average_of(callback)) is not None:
            return average.module.net
    return learner.net


def average_of(callback: WeightAveraging) -> AveragedModel | None:
    """Return the averaged model of Lightning's callback; None outside a training."""
    return callback._average_model
