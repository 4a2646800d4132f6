"""A run of a sweep reports its objective each epoch, and stops when its study says so."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from alexlab.runs.folder import Pruned
from hydra_plugins.hydra_study_sweeper.pruning import TrialReport


class Pruning(Checkpoint):
    """Reports `objective` after each epoch, and raises `Pruned` when the trial should stop here.

    It is a Checkpoint so that Lightning calls it after the callbacks that record the epoch.

    Args:
        objective: Name of the metric.
        trial: Where its study is and which pruner it has: what `TrialReport` takes.
    """

    def __init__(self, objective: str, trial: Mapping[str, Any]) -> None:
        self.objective, self.trial = objective, trial
        self._report: TrialReport | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report, and hear whether to stop; of several ranks the first one does."""
        stop = False
        if trainer.is_global_zero:
            self._report = self._report or TrialReport(**self.trial)
            value = float(trainer.callback_metrics[self.objective])
            stop = self._report.report(value, trainer.current_epoch)
        if trainer.strategy.broadcast(stop):
            raise Pruned
