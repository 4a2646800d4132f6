"""End a training at trainer.max_steps with a validation, as at the end of an epoch."""

from typing import Any

import lightning as L


class MaxSteps(L.Callback):
    """Set `trainer.should_stop` after `max_steps` steps; Lightning would skip the validation."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after this batch; the partial epoch is validated and recorded."""
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True
