"""More for TensorBoard: precision and recall of each class, and what the net has learned to see."""

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from src import pictures
from src.callbacks.tensorboard import TensorBoard
from src.learner import Learner

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
        self._hook: RemovableHandle | None = None
        self._outputs: Tensor | None = None
        self._seen: list[tuple[Tensor, Tensor]] = []

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen to the net."""

        def keep(*call: Any) -> None:
            self._outputs = call[2].detach()

        if self.classes and self.board.writer:
            assert isinstance(pl_module, Learner)
            self._hook = pl_module.net.register_forward_hook(keep)

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        *_: Any,
    ) -> None:
        """Keep what it said of the batch."""
        if self._outputs is not None:
            assert isinstance(pl_module, Learner)
            said = pl_module.task.predict(self._outputs.float())
            self._seen.append((said.cpu(), batch[1].cpu()))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the curves."""
        if self._hook is None or self.board.writer is None:
            return
        self._hook.remove()
        probabilities, targets = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        step = len(self.board.history.rows) + 1  # as the metrics of the test
        for number, name in enumerate(self.classes):
            self.board.writer.add_pr_curve(
                f"pr/{name}", targets == number, probabilities[:, number], step
            )


class Pictures(L.Callback):
    """Writes first-layer filters and feature maps of some val images after epochs 1, 2, 4, 8, ...

    Args:
        board: Whose file they are written to.
    """

    def __init__(self, board: TensorBoard) -> None:
        self.board = board
        self._images: Tensor | None = None

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
        *_: Any,
    ) -> None:
        """Take the first images."""
        if batch_idx == 0:
            self._images = batch[0][:IMAGES]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw, in some epochs."""
        epoch = trainer.current_epoch + 1
        last = epoch == trainer.max_epochs
        if self.board.writer is None or self._images is None or (epoch & (epoch - 1) and not last):
            return
        assert isinstance(pl_module, Learner)
        net, images = pl_module.net, self._images
        self.board.writer.add_image("filters", pictures.filters(net), epoch)
        shown = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
        low, high = shown.amin((1, 2, 3), keepdim=True), shown.amax((1, 2, 3), keepdim=True)
        grid = pictures.feature_maps(net, images, (shown - low) / (high - low).clamp(min=1e-12))
        self.board.writer.add_image("feature_maps", grid, epoch)
