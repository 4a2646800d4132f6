"""Warn about constant outputs and a stalled training loss.

The CIFAR-10 article reports constant outputs with images that were too small for its net, the
Pokémon article a stalled loss with sigmoid. (Feature maps without pixels raise an error before
training, see alexlab.models.resolution.)
"""

import logging
from typing import Any

import lightning as L
from torch import Tensor

from alexlab.training.callbacks.after_epoch import AfterEpoch
from alexlab.training.callbacks.csv_history import History

log = logging.getLogger(__name__)

PATIENCE = 5  # epochs; a shorter stall may be a slow start
CONSTANT = 0.01  # largest difference between the outputs for two images: logits, or scores
STALLED = 0.01  # largest relative change of the training loss


class TrainingHealthWarnings(AfterEpoch):
    """Log a warning when its condition has become true for `PATIENCE` epochs in a row."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.spreads: list[float] = []  # of the first batch of val, one per epoch
        self._outputs: Tensor | None = None  # [N, num_outputs]

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Store the outputs of the first batch."""
        if batch_idx == 0:
            self._outputs = outputs.clone()  # CUDA graphs reuse the memory of outputs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check both conditions."""
        if self._outputs is not None and len(self._outputs) > 1:
            spread = self._outputs.amax(0) - self._outputs.amin(0)  # over images
            self.spreads.append(float(spread.max()))
        if trainer.is_global_zero:
            self._warn_constant()
            self._warn_stalled()

    def _warn_constant(self) -> None:
        if _constant(self.spreads) and not _constant(self.spreads[:-1]):
            log.warning(
                f"constant outputs: for {PATIENCE} epochs the outputs have been the same for all"
                f" images (largest difference {self.spreads[-1]:.1g}).\n"
                "         Possible causes: saturated units, images that are too small, a learning"
                " rate that is too high;\n"
                "         try act=relu, model.norm=batch, more data.resolution, a lower optim.lr"
            )

    def _warn_stalled(self) -> None:
        losses = self._losses
        if _stalled(losses) and not _stalled(losses[:-1]):
            log.warning(
                f"stalled training loss: it has changed by less than {STALLED:.0%} in"
                f" {PATIENCE} epochs (it is {losses[-1]:.4g})"
            )

    @property
    def _losses(self) -> list[float]:
        return [row["train/loss"] for row in self.history.rows]

    @property
    def symptoms(self) -> list[str]:
        """Return the conditions that are true at the last epoch, for metrics.json.

        They decide whether a run of a study has trained. (A run may recover from an early stall.)
        """
        holds = {
            "constant outputs": _constant(self.spreads),
            "stalled training loss": _stalled(self._losses),
        }
        return [name for name, now in holds.items() if now]

    def state_dict(self) -> dict[str, Any]:
        """Return the spreads, so that a resumed run warns like an uninterrupted one."""
        return {"spreads": self.spreads}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the saved epochs."""
        self.spreads = state_dict["spreads"]


def _constant(spreads: list[float]) -> bool:
    last = spreads[-PATIENCE:]
    return len(last) == PATIENCE and max(last) < CONSTANT


def _stalled(losses: list[float]) -> bool:
    last = losses[-PATIENCE - 1 :]
    return len(last) > PATIENCE and max(last) - min(last) < STALLED * min(last)
