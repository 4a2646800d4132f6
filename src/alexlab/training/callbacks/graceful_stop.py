"""Stop a run on a signal: save within a few batches and end with status `stopped`."""

import os
import signal
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from alexlab.runs.folder import Stopped
from alexlab.training.callbacks.checkpoints import Checkpoints

STEPS = 16  # between two exchanges of several ranks, each of which waits for their devices
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
]


class GracefulStop(Checkpoint):
    """Save and raise `Stopped` on SIGINT, SIGTERM or SIGUSR1 (SLURM's warning); exit on a second.

    One process saves within one batch, several ranks within `STEPS` steps. After the last batch of
    an epoch the save waits for the epoch's validation, since a state between the two cannot be
    resumed exactly.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Install the signal handlers."""
        self._previous = {number: signal.signal(number, self._on_signal) for number in SIGNALS}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Install them again: Lightning has installed a SIGTERM handler that would raise."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Restore the previous handlers, after an exception too."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _stop_if_requested(self, trainer: L.Trainer) -> None:
        requested = self.received is not None
        if trainer.world_size > 1:  # one rank may receive the signal a batch before another
            requested = trainer.strategy.reduce_boolean_decision(requested, all=False)
        if requested:
            self.checkpoints.save(trainer)
            raise Stopped(self.received or signal.SIGTERM)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop in mid-epoch, but not between batches whose gradients are accumulated."""
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        due = trainer.world_size == 1 or trainer.global_step % STEPS == 0
        if due and not trainer.is_last_batch and not accumulating:
            self._stop_if_requested(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop between two epochs."""
        self._stop_if_requested(trainer)
