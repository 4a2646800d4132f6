"""TensorBoard: the run's metrics under their names, its config, its images, one HParams entry."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from torchvision.utils import make_grid

from alexlab.evaluation import feature_maps
from alexlab.training.callbacks.csv_history import History


class TensorBoard(Checkpoint):
    """Writes events.out.* into the run's folder; the horizontal axis is the epoch, from 1.

    The HParams entry is written into the same file as the scalars, so that its metrics are theirs:
    `SummaryWriter.add_hparams` makes a run of its own, and Lightning's a metric `hp_metric=-1`.

    Args:
        folder: The run's folder.
        config: The run's config as YAML.
        hparams: The flat settings shown in the HParams table.
        history: Whose rows are written.
        chosen: Settings that stand in the first columns of that table.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        hparams: Mapping[str, Any],
        history: History,
        chosen: Collection[str] = (),
    ) -> None:
        self.folder, self.config, self.hparams, self.history = folder, config, hparams, history
        self.chosen = chosen
        self.writer: SummaryWriter | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the file; after a resume, hide what the interrupted process wrote too far."""
        if not trainer.is_global_zero:
            return
        done = len(self.history.rows)
        self.writer = SummaryWriter(str(self.folder), purge_step=done + 1)
        if not done:
            self.writer.add_text("config", f"```yaml\n{self.config}\n```")

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Show the first images as the net sees them, after augmentation."""
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
            self.writer.flush()

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Write the final metrics and the HParams entry, and close the file."""
        if self.writer is None or self.writer.file_writer is None:
            return
        names = {name: value for name, value in metrics.items() if name.startswith(("val", "test"))}
        after = len(self.history.rows) + 1  # a run that goes on from here hides it
        for name in [name for name in names if name.startswith("test")]:
            self.writer.add_scalar(name, names[name], after)
        experiment, *session = hparams(dict(self.hparams), names)
        for part in [self._chosen_first(experiment), *session]:
            self.writer.file_writer.add_summary(part)
        self.writer.close()

    def _chosen_first(self, experiment: Summary) -> Summary:
        """TensorBoard puts columns that differ first, by name, and shows the first few only."""
        about = experiment.value[0].metadata.plugin_data
        data = HParamsPluginData.FromString(about.content)
        for info in data.experiment.hparam_infos:
            info.differs = info.name in self.chosen
        about.content = data.SerializeToString()
        return experiment


def layout(names: Iterable[str]) -> dict[str, dict[str, list[Any]]]:
    """The tab Custom Scalars: a chart a metric with train and val, a chart a quantity of layers."""
    metrics = [name.removeprefix("val/") for name in names if name.startswith("val/")]
    quantities = {name.rsplit("/")[-1]: None for name in names if name.startswith("diag/")}
    return {
        "train and val": {m: ["Multiline", [f"^(train|val)/{m}$"]] for m in metrics},
        "layers": {q: ["Multiline", [f"^diag/.*/{q}$"]] for q in quantities},
    }


IMAGES = 4  # of val
MOST = 30  # curves


class PRCurves(L.Callback):
    """Writes a precision-recall curve for each class, on test, at the end: `pr/<class>`.

    Args:
        board: Whose file it is written to.
        classes: Their names; scores have none, and no curves, nor have more than `MOST` classes.
    """

    def __init__(self, board: TensorBoard, classes: list[str]) -> None:
        self.board, self.classes = board, classes if len(classes) <= MOST else []
        self._seen: list[tuple[Tensor, Tensor]] = []

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Keep what the net says of the batch."""
        if self.classes and self.board.writer:
            self._seen.append((pl_module.task.predict(outputs).cpu(), batch[1].cpu()))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the curves."""
        if not self._seen or self.board.writer is None:
            return
        probabilities, targets = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        step = len(self.board.history.rows) + 1  # as the metrics of the test
        for number, name in enumerate(self.classes):
            self.board.writer.add_pr_curve(
                f"pr/{name}", targets == number, probabilities[:, number], step
            )


class ImageLogger(L.Callback):
    """Draws first-layer filters and feature maps of val images after epochs 1, 2, 4, 8, ..."""

    def __init__(self, board: TensorBoard) -> None:
        self.board = board
        self._images: Tensor | None = None

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Take the first images."""
        if batch_idx == 0:
            self._images = batch[0][:IMAGES]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw, in some epochs."""
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
