"""Write TensorBoard events: metrics under their names, config, images, one HParams entry."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from torchvision.utils import make_grid

from alexlab.evaluation import feature_maps
from alexlab.training.callbacks.after_epoch import AfterEpoch
from alexlab.training.callbacks.csv_history import History


class TensorBoard(AfterEpoch):
    """Write events.out.* into the run folder; the horizontal axis is the epoch, from 1.

    The task's main metric is written twice: as `val/acc`, and as `Accuracy/val`, which TensorBoard
    shows first, since it sorts capital letters before small ones.

    The HParams entry is written into the file of the scalars to show their values.
    (`SummaryWriter.add_hparams` creates a separate run, and Lightning's logger adds a metric
    `hp_metric=-1`.) The entry has no experiment summary: TensorBoard would use that of one run for
    all runs. Without it, TensorBoard shows the settings first that differ between runs.

    Args:
        folder: The run folder.
        config: The run's config as YAML.
        hparams: Flat settings shown in the HParams table.
        history: History whose rows are written.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        hparams: Mapping[str, Any],
        history: History,
    ) -> None:
        self.folder, self.config, self.hparams, self.history = folder, config, hparams, history
        self.writer: SummaryWriter | None = None
        self.enabled = True

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the file; after a resume, hide the earlier values of repeated epochs."""
        if not trainer.is_global_zero or not self.enabled:
            return
        epochs_done = len(self.history.rows)
        self.writer = SummaryWriter(str(self.folder), purge_step=epochs_done + 1)
        if not epochs_done:
            self.writer.add_text("config", f"```yaml\n{self.config}\n```")

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Write the first training images after augmentation, as the net receives them."""
        if self.writer and trainer.global_step == 0 and batch_idx == 0:
            images = batch[0][:16].float()  # [16, C, R, R]
            images = images if images.shape[1] == 3 else images[:, :1]
            self.writer.add_image("train/batch", make_grid(images, 8, normalize=True), 1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the epoch's row."""
        if self.writer:
            row = self.history.rows[-1]
            if len(self.history.rows) == 1:
                self.writer.add_custom_scalars(layout(row))
            for name in row.keys() - {"epoch"}:
                self.writer.add_scalar(name, row[name], int(row["epoch"]))
            if (metric := main_metric(row)) is not None:
                self.writer.add_scalar(
                    f"{title(metric)}/val", row[f"val/{metric}"], int(row["epoch"])
                )
            self.writer.flush()

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Write the final metrics and the HParams entry, and close the file."""
        if self.writer is None or self.writer.file_writer is None:
            return
        shown = {name: value for name, value in metrics.items() if name.startswith(("val", "test"))}
        after_last = len(self.history.rows) + 1  # a later resume hides this step
        for name in [name for name in shown if name.startswith("test")]:
            self.writer.add_scalar(name, shown[name], after_last)
        if (metric := main_metric(shown)) is not None and f"test/{metric}" in shown:
            self.writer.add_scalar(f"{title(metric)}/test", shown[f"test/{metric}"], after_last)
        _, *session = hparams(dict(self.hparams), shown)  # without the experiment summary
        for part in session:
            self.writer.file_writer.add_summary(part)
        self.writer.close()


def main_metric(names: Iterable[str]) -> str | None:
    """Return the first val metric that is not the loss: acc or mae."""
    found = (name.removeprefix("val/") for name in names if name.startswith("val/"))
    return next((name for name in found if name != "loss"), None)


def title(metric: str) -> str:
    """Return the heading of a metric's charts, such as Accuracy or MAE."""
    return {"acc": "Accuracy"}.get(metric, metric.upper())


def layout(names: Iterable[str]) -> dict[str, dict[str, list[Any]]]:
    """Return the charts of the tab Custom Scalars: one per metric, one per layer quantity."""
    metrics = [name.removeprefix("val/") for name in names if name.startswith("val/")]
    quantities = {name.rsplit("/")[-1]: None for name in names if name.startswith("diag/")}
    return {
        "train and val": {m: ["Multiline", [f"^(train|val)/{m}$"]] for m in metrics},
        "layers": {q: ["Multiline", [f"^diag/.*/{q}$"]] for q in quantities},
    }


IMAGES = 4  # of val
MAX_CURVES = 30


class PRCurves(L.Callback):
    """Write a precision-recall curve of the test set for each class: `pr/<class>`.

    Args:
        board: TensorBoard file to write to.
        classes: Names of the classes. No curve is written for scores, which have no classes, or
            for more than `MAX_CURVES` classes.
    """

    def __init__(self, board: TensorBoard, classes: list[str]) -> None:
        self.board, self.classes = board, classes if len(classes) <= MAX_CURVES else []
        self._batches: list[tuple[Tensor, Tensor]] = []

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Store the predictions for the batch."""
        if self.classes and self.board.writer:
            self._batches.append((pl_module.task.predict(outputs).cpu(), batch[1].cpu()))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the curves."""
        if not self._batches or self.board.writer is None:
            return
        probabilities, targets = (torch.cat(parts) for parts in zip(*self._batches, strict=True))
        step = len(self.board.history.rows) + 1  # the step of the test metrics
        for number, name in enumerate(self.classes):
            self.board.writer.add_pr_curve(
                f"pr/{name}", targets == number, probabilities[:, number], step
            )


class ImageLogger(L.Callback):
    """Draw the filters of the first layer and feature maps of val images."""

    def __init__(self, board: TensorBoard) -> None:
        self.board = board
        self._images: Tensor | None = None

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Store the first images."""
        if batch_idx == 0:
            self._images = batch[0][:IMAGES]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw after epochs 1, 2, 4, 8, ... and after the last one."""
        epoch, images = trainer.current_epoch + 1, self._images
        last = epoch == trainer.max_epochs
        if self.board.writer is None or images is None or (epoch & (epoch - 1) and not last):
            return
        self.board.writer.add_image("filters", feature_maps.filters(pl_module.net), epoch)
        shown = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
        low, high = shown.amin((1, 2, 3), keepdim=True), shown.amax((1, 2, 3), keepdim=True)
        shown = (shown - low) / (high - low).clamp(min=1e-12)
        grid = feature_maps.feature_maps(pl_module.net, images, shown)
        self.board.writer.add_image("feature_maps", grid, epoch)
