"""End a training at trainer.max_steps as at the end of an epoch: with a validation."""

from typing import Any

import lightning as L


class MaxSteps(L.Callback):
    """Ask for the end of the training once it has taken `trainer.max_steps` optimiser steps.

    Lightning ends there by itself, but without a validation, so that the weights would have no
    objective.
    """

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after this batch: what was trained of the epoch is validated and recorded."""
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True
