"""Report the objective of a trial after each epoch, and stop the trial when it is pruned."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from alexlab.runs.folder import Pruned
from hydra_plugins.hydra_study_sweeper.pruning import TrialReport


class Pruning(Checkpoint):
    """Report `objective` after each epoch, and raise `Pruned` when the trial should stop.

    It is a Checkpoint so that Lightning calls it after the callbacks that record the epoch.

    Args:
        objective: Name of the metric.
        trial: Arguments of the sweeper's `TrialReport`: storage, study, number and pruner.
    """

    def __init__(self, objective: str, trial: Mapping[str, Any]) -> None:
        self.objective, self.trial = objective, trial
        self._report: TrialReport | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report the value, and stop if the trial is pruned; of several ranks the first asks."""
        stop = False
        if trainer.is_global_zero:
            self._report = self._report or TrialReport(**self.trial)
            value = float(trainer.callback_metrics[self.objective])
            stop = self._report.report(value, trainer.current_epoch)
        if trainer.strategy.broadcast(stop):
            raise Pruned
