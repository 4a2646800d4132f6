"""Says so when a net is ill: outputs that are the same for every input, a loss that does not move.

Article 004 met the first with inputs that were too small for its net, article 002 the second with
sigmoid. (Feature maps that shrink to nothing are an error before training: src/models/resolution.)
"""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from alexlab.training.callbacks.csv_history import History

PATIENCE = 5  # epochs; a net that starts slowly is not ill
SAME = 0.01  # largest difference between the outputs for two images: logits, or scores
STILL = 0.01  # largest relative change of the training loss


class TrainingHealthWarnings(Checkpoint):
    """Prints each symptom once, when it has lasted for `PATIENCE` epochs."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.spreads: list[float] = []  # of the first batch of val, one an epoch
        self._outputs: Tensor | None = None  # [N, num_outputs]

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Keep the outputs of the first batch."""
        if batch_idx == 0:
            self._outputs = outputs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look, and say what is seen for the first time."""
        if self._outputs is not None and len(self._outputs) > 1:
            spread = self._outputs.amax(0) - self._outputs.amin(0)  # over images
            self.spreads.append(float(spread.max()))
        if trainer.is_global_zero:
            self._say_collapsed()
            self._say_still()

    def _say_collapsed(self) -> None:
        if _same(self.spreads) and not _same(self.spreads[:-1]):
            print(
                f"symptom: collapsed - for {PATIENCE} epochs the outputs are the same for every"
                f" image (they differ by {self.spreads[-1]:.1g} at most).\n"
                "         Saturated units, too small an input or too high a rate do this: try"
                " act=relu, model.norm=batch, data.resolution, optim.lr"
            )

    def _say_still(self) -> None:
        losses = [row["train/loss"] for row in self.history.rows]
        if _still(losses) and not _still(losses[:-1]):
            print(
                f"symptom: the training loss has moved by less than {STILL:.0%} in {PATIENCE}"
                f" epochs (it is {losses[-1]:.4g})"
            )


def _same(spreads: list[float]) -> bool:
    last = spreads[-PATIENCE:]
    return len(last) == PATIENCE and max(last) < SAME


def _still(losses: list[float]) -> bool:
    last = losses[-PATIENCE - 1 :]
    return len(last) > PATIENCE and max(last) - min(last) < STILL * min(last)
