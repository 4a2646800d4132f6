"""Seed the random-number generators before each training step from (seed, epoch, batch, rank).

Dropout and augmentation draw from these generators. A run that is stopped and resumed at any step
draws the same numbers as an uninterrupted run; validation, logging and diagnostics may draw numbers
without changing the training.
"""

import random
from typing import Any

import lightning as L
import numpy as np
import torch


class StepSeeding(L.Callback):
    """Seed torch, numpy and python before each training batch is augmented."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def _seed(self, trainer: L.Trainer, batch: int) -> None:
        entropy = [self.seed, trainer.current_epoch, batch, trainer.global_rank]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        seed_generators(seed, trainer.strategy.root_device)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Seed for the first batch, which after a resume may be in the middle of an epoch."""
        self._seed(trainer, trainer.fit_loop.epoch_loop.batch_progress.current.ready)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Seed for the first batch of a later epoch."""
        self._seed(trainer, 0)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Seed for the next batch, which is augmented before the hooks of its step run."""
        self._seed(trainer, batch_idx + 1)


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed python, numpy, and torch's generators of the CPU and of `device`.

    `torch.manual_seed` gives the same numbers, but takes 0.1 to 0.4 ms instead of 1 us: it formats
    a stack trace for each kind of accelerator that is not initialised.
    """
    random.seed(seed)
    np.random.seed(seed)
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    elif device.type == "cuda":  # ROCm too
        torch.default_generator.manual_seed(seed)
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    else:
        torch.manual_seed(seed)
