"""Show the progress of a run: a bar for the current epoch, a line per finished epoch."""

import sys
import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torchmetrics import Metric

from alexlab.reporting.formatting import format_metric
from alexlab.training.callbacks.after_epoch import AfterEpoch
from alexlab.training.callbacks.csv_history import History


class EpochProgress(AfterEpoch):
    """Print one line per epoch; on a terminal also a progress bar with loss and images/s.

    Args:
        history: History whose last row is printed.
        metric: Name of the metric to show next to the loss, such as `acc`.
    """

    def __init__(self, history: History, metric: str) -> None:
        self.history, self.metric = history, metric
        console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(20),  # leaves room in 80 columns for ^C, which would break a full line
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.bar_task = self.bar.add_task("", epoch="", status="")
        self._updated_at = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the epoch's bar."""
        if trainer.is_global_zero:
            epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.bar.reset(
                self.bar_task, total=trainer.num_training_batches, epoch=epoch, status=""
            )
            self.bar.start()
            self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the bar at most ten times per second: reading the loss waits for the GPU."""
        now = time.perf_counter()
        if self.bar.disable or not trainer.is_global_zero or now - self._updated_at < 0.1:
            return
        self._updated_at = now
        metrics = _compute_locally(pl_module.metrics("train")[1])
        speed = (batch_idx + 1) * len(batch[1]) / (now - self._started)
        loss = _format("loss", {"loss": float(outputs["loss"])})
        status = f"{loss}  {_format(self.metric, metrics)}  {speed:.0f} images/s"
        self.bar.update(self.bar_task, completed=batch_idx + 1, status=status)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Clear the bar and print the epoch's line."""
        if not trainer.is_global_zero:
            return
        self.bar.stop()
        row = self.history.rows[-1]
        parts = [f"epoch {row['epoch']:>3.0f}/{trainer.max_epochs}", f"lr {row['lr']:<6g}"]
        for split in ("train", "val"):
            metrics = {k.split("/")[1]: v for k, v in row.items() if k.startswith(f"{split}/")}
            parts.append(f"{split} {_format('loss', metrics)} {_format(self.metric, metrics)}")
        speed = f"{self.history.rates[-1]:.0f} images/s  {row['seconds']:.1f} s"
        line = "   ".join([*parts, speed])
        if self.bar.console.is_terminal and len(line) > self.bar.console.width:
            line = "  ".join(parts)  # without the speed, which the bar and the summary show
        print(line, flush=True)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Remove the bar: after an exception Lightning does not call `teardown`."""
        self.bar.stop()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the bar."""
        self.bar.stop()
        sys.stderr.flush()


def _compute_locally(metric: Metric) -> Any:
    """Compute a metric on this rank only; the other ranks show no bar and would not take part.

    (The attribute `metric.compute` is torchmetrics' wrapper, which synchronises the ranks.)
    """
    return type(metric).compute(metric)


def _format(name: str, values: Any) -> str:
    return f"{name} {format_metric(name, float(values[name]))}" if name in values else ""
