"""Numbers gone bad end a run: what follows a loss that is not a number is not training."""

import math

import lightning as L
from lightning.pytorch.callbacks import Checkpoint


class Finite(Checkpoint):
    """Fails the run at the end of an epoch whose training loss is NaN or infinite."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at train/loss."""
        loss = float(trainer.callback_metrics["train/loss"])
        if not math.isfinite(loss):
            lr = trainer.optimizers[0].param_groups[0]["lr"]
            raise FloatingPointError(
                f"train/loss is {loss} in epoch {trainer.current_epoch + 1} at a learning rate of"
                f" {lr:g}: lower optim.lr, or set trainer.gradient_clip_val"
            )
