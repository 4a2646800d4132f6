"""A signal stops a run politely: it saves within one batch, and its folder says `stopped`."""

import os
import signal
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from alexlab.runs.folder import Stopped
from alexlab.training.callbacks.checkpoints import Checkpoints

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
]


class GracefulStop(Checkpoint):
    """On SIGINT, SIGTERM or SIGUSR1 (SLURM's warning): save, then raise `Stopped`; twice: exit now.

    After the last batch of an epoch the save waits for the epoch's validation, since a state
    between the two cannot be resumed exactly.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over."""
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take them again: Lightning has put a handler of its own first, which would raise."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the signals back, after an exception too."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _stop_if_asked(self, trainer: L.Trainer) -> None:
        asked = self.received is not None
        if trainer.world_size > 1:  # one rank may have seen the signal a batch before another
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked:
            self.checkpoints.save(trainer)
            raise Stopped(self.received or signal.SIGTERM)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop in the middle of an epoch, but not among batches whose gradients are accumulated."""
        goes_on = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        if not trainer.is_last_batch and not goes_on:
            self._stop_if_asked(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop between two epochs."""
        self._stop_if_asked(trainer)
