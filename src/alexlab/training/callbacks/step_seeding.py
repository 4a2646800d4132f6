"""Randomness as a function of where the training stands, and of nothing else.

Before each training step the global generators are seeded from (seed, epoch, batch, rank). Dropout
and augmentation draw from them, so that a run which is stopped and resumed at any step, or which
looks at more on its way (validation, logging, diagnostics), draws what an unbroken run does.
"""

import random
from typing import Any

import lightning as L
import numpy as np
import torch


class StepSeeding(L.Callback):
    """Seeds torch, numpy and python ahead of each training batch, before it is augmented."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def _seed(self, trainer: L.Trainer, batch: int) -> None:
        place = [self.seed, trainer.current_epoch, batch, trainer.global_rank]
        state = int(np.random.SeedSequence(place).generate_state(1)[0])
        torch.manual_seed(state)
        np.random.seed(state)
        random.seed(state)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """For the first batch, which after a resume may stand in the middle of an epoch."""
        self._seed(trainer, trainer.fit_loop.epoch_loop.batch_progress.current.ready)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """For the first batch of a later epoch."""
        self._seed(trainer, 0)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """For the next batch: it is augmented before the next step's own hooks run."""
        self._seed(trainer, batch_idx + 1)
