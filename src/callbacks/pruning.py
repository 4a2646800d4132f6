"""A run of a sweep reports its objective each epoch, and stops when its study says so."""

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from hydra_plugins._study_storage import TrialReport
from src.run_folder import Pruned


class Pruning(Checkpoint):
    """Reports `objective` after each epoch, and raises `Pruned` when the trial should stop here.

    It is a Checkpoint so that Lightning calls it after the callbacks that record the epoch.

    Args:
        objective: Name of the metric.
        storage: Where the study is kept: a journal's path or a database's URL.
        study: The study's name.
        number: The trial's number in it.
        prune: The pruner, such as `median`.
    """

    def __init__(
        self, objective: str, *, storage: str, study: str, number: int, prune: str
    ) -> None:
        self.objective = objective
        self._about = {"storage": storage, "study": study, "prune": prune}
        self._number = number
        self._report: TrialReport | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report, and hear whether to stop; of several ranks the first one does."""
        stop = False
        if trainer.is_global_zero:
            if self._report is None:
                self._report = TrialReport(**self._about, number=self._number)
            value = float(trainer.callback_metrics[self.objective])
            stop = self._report.report(value, trainer.current_epoch)
        if trainer.strategy.broadcast(stop):
            raise Pruned
