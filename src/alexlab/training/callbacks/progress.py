"""What a person sees of a run: a bar for the epoch under way, a line for each that is done."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from alexlab.reporting.formatting import format_metric
from alexlab.training.callbacks.csv_history import History


class EpochProgress(Checkpoint):
    """Prints one line an epoch; on a terminal, below it, a bar with loss and images/s.

    Args:
        history: Whose last row is printed.
        headline: The metric shown beside the loss, such as `acc`.
    """

    def __init__(self, history: History, headline: str) -> None:
        self.history, self.headline = history, headline
        console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[live]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.row = self.bar.add_task("", epoch="", live="")
        self._shown = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the epoch's bar."""
        if trainer.is_global_zero:
            epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.bar.reset(self.row, total=trainer.num_training_batches, epoch=epoch, live="")
            self.bar.start()
            self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, at most ten times a second: reading the loss waits for the GPU."""
        now = time.perf_counter()
        if self.bar.disable or not trainer.is_global_zero or now - self._shown < 0.1:
            return
        self._shown = now
        meters = pl_module.meters("train")[1].compute()
        speed = (batch_idx + 1) * len(batch[1]) / (now - self._began)
        seen = f"loss {float(outputs['loss']):.3f}  {_named(self.headline, meters)}"
        live = f"{seen}  {speed:.0f} images/s"
        self.bar.update(self.row, completed=batch_idx + 1, live=live)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Clear the bar and print the epoch's line."""
        if not trainer.is_global_zero:
            return
        self.bar.stop()
        row = self.history.rows[-1]
        parts = [f"epoch {row['epoch']:>3.0f}/{trainer.max_epochs}", f"lr {row['lr']:<6g}"]
        for split in ("train", "val"):
            own = {k.split("/")[1]: v for k, v in row.items() if k.startswith(f"{split}/")}
            parts.append(f"{split} loss {own['loss']:.3f} {_named(self.headline, own)}")
        parts.append(f"{self.history.rates[-1]:.0f} images/s  {row['seconds']:.1f} s")
        print("   ".join(parts), flush=True)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the terminal as it was, after an exception too."""
        self.bar.stop()
        sys.stderr.flush()


def _named(name: str, values: Any) -> str:
    return f"{name} {format_metric(name, float(values[name]))}" if name in values else ""
