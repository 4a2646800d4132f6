"""Scores the test set by several crops an image too, beside the one that every run reports.

Written as `test/acc_10_crops`, `test/top5_error_144_crops`, ..., and `test/seconds_10_crops`, what
it took, decoding included.
"""

import time
from collections.abc import Sequence

import lightning as L
import numpy as np
import torch
from torch import Tensor

from alexlab.data.datamodule import ImageFolderData
from alexlab.evaluation.inference import Crops, predict_all
from alexlab.training.module import Learner


class MultiCropTest(L.Callback):
    """After the ordinary test, the same weights on the views of src/evaluation/crops.py.

    Args:
        numbers: 1, 10, 144: how many views an image; 1 is the ordinary test, which is always run.
        data: Whose test set it is.

    Raises:
        ValueError: Another number.
    """

    def __init__(self, numbers: Sequence[int], data: ImageFolderData) -> None:
        every = [Crops(n, data.resolution, data.load_size, data.fit) for n in numbers]
        self.crops = [crops for crops in every if crops.number != 1]
        self.data = data

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look again, and log what comes out."""
        assert isinstance(pl_module, Learner)
        for crops in self.crops:
            start = time.perf_counter()
            scores = self._scores(crops, trainer, pl_module)
            scores["seconds"] = torch.tensor(time.perf_counter() - start)
            named = {f"test/{name}_{crops.number}_crops": v for name, v in scores.items()}
            pl_module.log_dict(named, sync_dist=False)  # computed over all ranks already

    def _scores(self, crops: Crops, trainer: L.Trainer, learner: Learner) -> dict[str, Tensor]:
        rows = np.concatenate(self.data.test_dataloader().batches())  # of this rank
        metrics = learner.task.metrics().to(learner.device)

        def predict(views: Tensor) -> Tensor:
            with trainer.precision_plugin.forward_context():
                outputs = learner.net(self.data.view(views.to(learner.device), training=False))
            return learner.task.predict(outputs.float())

        found = predict_all(self.data.store.paths(rows), crops, predict).to(learner.device)
        metrics.update(found, self.data.targets[rows].to(learner.device))
        scores: dict[str, Tensor] = metrics.compute()
        return scores

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say what each gained, and what it took."""
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for crops in self.crops if trainer.is_global_zero else []:
            end = f"_{crops.number}_crops"
            name = next(name for name in found if name + end in found)  # acc, or mae
            change = f"{name} {found[name]:.3f} -> {found[name + end]:.3f}"
            print(f"{crops}: {change}  ({found[f'test/seconds{end}']:.1f} s)")
