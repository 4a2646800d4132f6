"""Exponential moving average of the weights, kept on the device where the net trains."""

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(EMAWeightAveraging):
    """Average the weights and buffers after each step, on the device of the trainer.

    Lightning copies the net for the average before it has moved the net to its device, so that the
    average would stay on the CPU: each step would copy all weights there and wait for them.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Create the average on the trainer's device."""
        if stage == "fit":
            device = trainer.strategy.root_device
            self._average_model = DeviceAverage(
                pl_module, device=device, use_buffers=True, **self._kwargs
            )


class DeviceAverage(AveragedModel):
    """Compute torch's `AveragedModel` without waiting for the device at each step."""

    _is_first: bool | None = None  # unknown before the first update: a checkpoint may be loaded

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the average towards the weights and buffers of `model`; the first time, copy them.

        torch reads its counter on the device twice per update; here only the first update does.
        """
        if self._is_first is None:
            self._is_first = int(self.n_averaged) == 0
        if self._is_first:
            self._is_first = False
            return super().update_parameters(model)
        assert self.avg_fn is not None
        averages = [*self.module.parameters(), *self.module.buffers()]
        values = [*model.parameters(), *model.buffers()]
        for average, value in zip(averages, values, strict=True):
            average.copy_(self.avg_fn(average, value, self.n_averaged))
        self.n_averaged += 1
        return None
