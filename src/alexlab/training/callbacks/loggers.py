"""Send the rows of history.csv to loggers of Lightning or other packages."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.loggers.logger import Logger

from alexlab.training.callbacks.after_epoch import AfterEpoch
from alexlab.training.callbacks.csv_history import History


class Loggers(AfterEpoch):
    """Send the settings, each epoch's row and the final metrics to loggers; the step is the epoch.

    The Trainer itself gets no logger, so that loggers cannot change a run.

    Args:
        loggers: The loggers; all of them get the same numbers.
        hparams: Flat settings of the run.
        history: History whose rows are sent.
    """

    def __init__(
        self, loggers: Sequence[Logger], hparams: Mapping[str, Any], history: History
    ) -> None:
        self.loggers, self.hparams, self.history = loggers, hparams, history
        self._started = False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Send the settings."""
        self._started = trainer.is_global_zero
        for logger in self.loggers if self._started else ():
            logger.log_hyperparams(dict(self.hparams))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Send the epoch's row."""
        row = dict(self.history.rows[-1])
        step = int(row.pop("epoch"))
        for logger in self.loggers if self._started else ():
            logger.log_metrics(row, step)
            logger.save()

    def finish(self, metrics: Mapping[str, float], status: str) -> None:
        """Send the test metrics, and close the loggers.

        Args:
            metrics: The metrics of metrics.json.
            status: "success" or "failed".
        """
        tested = {name: value for name, value in metrics.items() if name.startswith("test/")}
        for logger in self.loggers if self._started else ():
            if tested:
                logger.log_metrics(tested, len(self.history.rows) + 1)
            logger.save()
            logger.finalize(status)
        self._started = False
