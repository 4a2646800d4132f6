"""More for TensorBoard: precision and recall of each class, and what the net has learned to see."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from src import pictures
from src.callbacks.tensorboard import TensorBoard

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


class Pictures(L.Callback):
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
        self.board.writer.add_image("filters", pictures.filters(pl_module.net), epoch)
        shown = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
        low, high = shown.amin((1, 2, 3), keepdim=True), shown.amax((1, 2, 3), keepdim=True)
        shown = (shown - low) / (high - low).clamp(min=1e-12)
        grid = pictures.feature_maps(pl_module.net, images, shown)
        self.board.writer.add_image("feature_maps", grid, epoch)
