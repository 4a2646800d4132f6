"""Save in the middle of an epoch, and stop a run on a signal, with status `stopped`."""

import signal
from typing import Any

import lightning as L

from alexlab.runs.folder import Stopped
from alexlab.runs.stop_signals import StopSignals
from alexlab.training.callbacks.after_epoch import AfterEpoch
from alexlab.training.callbacks.checkpoints import Checkpoints

STEPS = 16  # steps between two exchanges between ranks; an exchange waits for the devices


class GracefulStop(AfterEpoch):
    """Save and raise `Stopped` after a signal; save when `save_every_s` have passed in an epoch.

    A single process saves after the current batch, several ranks within `STEPS` steps. After the
    last batch of an epoch the save waits for the validation, since a state between the two cannot
    be resumed exactly.
    """

    def __init__(self, checkpoints: Checkpoints, signals: StopSignals) -> None:
        self.checkpoints, self.signals = checkpoints, signals

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Defer signals until the training can save; turn off Lightning's exchange of signals."""
        skip_lightnings_exchange(trainer)
        self.signals.set_at_once(False)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Install the handlers again: Lightning has installed its own for SIGTERM, which raises."""
        self.signals.install()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Install the handlers again, as for the training."""
        self.signals.install()

    def _stop_if_requested(self, trainer: L.Trainer, *, due: bool = False) -> None:
        """Save if a signal has been received, or a save is `due`; raise `Stopped` after a signal.

        The ranks decide together, since they may receive the signal at different batches.
        """
        requested = self.signals.received is not None
        if trainer.world_size > 1:
            decide = trainer.strategy.reduce_boolean_decision
            due = decide(requested or due, all=False)
            requested = due and decide(requested, all=False)
        if requested or due:
            self.checkpoints.save(trainer)
        if requested:
            raise Stopped(self.signals.received or signal.SIGTERM)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check in the middle of an epoch, but not between batches with accumulated gradients."""
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        exchange = trainer.world_size == 1 or trainer.global_step % STEPS == 0
        if exchange and not trainer.is_last_batch and not accumulating:
            self._stop_if_requested(trainer, due=self.checkpoints.is_due())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check between two epochs."""
        self._stop_if_requested(trainer)


def skip_lightnings_exchange(trainer: L.Trainer) -> None:
    """Turn off Lightning's exchange of signals, which waits for the device twice per batch."""
    loop: Any = trainer.fit_loop.epoch_loop
    loop._broadcast_sigterm_tensor = lambda: None
