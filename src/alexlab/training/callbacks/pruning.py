"""Report the objective of a trial after each epoch, and stop the trial when it is pruned."""

import lightning as L

from alexlab.runs.folder import Pruned
from alexlab.training.callbacks.after_epoch import AfterEpoch
from hydra_plugins.hydra_study_sweeper.pruning import TrialReporter


class Pruning(AfterEpoch):
    """Report `objective` after each epoch, and raise `Pruned` when the trial should stop.

    Args:
        objective: Name of the metric.
        reporter: Connection of the trial to its sweep.
    """

    def __init__(self, objective: str, reporter: TrialReporter) -> None:
        self.objective, self.reporter = objective, reporter

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report on rank 0, and stop all ranks if the trial is pruned."""
        stop = False
        if trainer.is_global_zero:
            value = float(trainer.callback_metrics[self.objective])
            self.reporter.report(value, trainer.current_epoch)
            stop = self.reporter.should_prune()
        if trainer.strategy.broadcast(stop):
            raise Pruned
