"""Evaluate the test set with several crops per image, in addition to the ordinary test.

The results are logged as `test/acc_10_crops`, `test/top5_error_144_crops`, ..., and the time
including decoding as `test/seconds_10_crops`.
"""

import time
from collections.abc import Sequence

import lightning as L
import numpy as np
import torch
from torch import Tensor

from alexlab.data.datamodule import ImageFolderData
from alexlab.evaluation.inference import Crops, predict_all
from alexlab.reporting.formatting import format_metric
from alexlab.training.module import Learner


class MultiCropTest(L.Callback):
    """Test the same weights on the crops of alexlab.evaluation.inference, after the ordinary test.

    Args:
        numbers: Crops per image: 1, 10 or 144; 1 is the ordinary test, which always runs.
        data: Data module with the test set.

    Raises:
        ValueError: If a number of crops is not supported.
    """

    def __init__(self, numbers: Sequence[int], data: ImageFolderData) -> None:
        requested = [
            Crops(n, data.resolution, data.load_size, data.fit, data.white) for n in numbers
        ]
        self.crops = [crops for crops in requested if crops.number != 1]
        self.data = data
        self.predictions: dict[int, Tensor] = {}  # crops -> [N, K] of the last test, on the CPU

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Test with each number of crops, and log the results."""
        assert isinstance(pl_module, Learner)
        for crops in self.crops:
            start = time.perf_counter()
            scores = self._scores(crops, trainer, pl_module)
            scores["seconds"] = torch.tensor(time.perf_counter() - start)
            named = {f"test/{name}_{crops.number}_crops": v for name, v in scores.items()}
            pl_module.log_dict(named, sync_dist=False)  # already computed over all ranks

    def _scores(self, crops: Crops, trainer: L.Trainer, learner: Learner) -> dict[str, Tensor]:
        rows = np.concatenate(self.data.test_dataloader().batches())  # of this rank
        metrics = learner.task.metrics().to(learner.device)

        def predict(views: Tensor) -> Tensor:
            # outside autocast, as in the learner: bfloat16 is too coarse for a DCT or FFT
            images = self.data.preprocess(views.to(learner.device), training=False).to(
                learner.dtype
            )
            with trainer.precision_plugin.forward_context():
                outputs = learner.net(images)
            return learner.task.predict(outputs.float())

        preds = predict_all(self.data.cache.paths(rows), crops, predict)
        self.predictions[crops.number] = preds.cpu()
        metrics.update(preds.to(learner.device), self.data.targets[rows].to(learner.device))
        scores: dict[str, Tensor] = metrics.compute()
        return scores

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the main metric with one crop and with each number of crops, and the time."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for crops in self.crops if trainer.is_global_zero else []:
            suffix = f"_{crops.number}_crops"
            name = next(name for name in metrics if name + suffix in metrics)  # acc, or mae
            before, after = (format_metric(name, metrics[key]) for key in (name, name + suffix))
            change = f"{name} {before} -> {after}"
            print(f"{crops}: {change}  ({metrics[f'test/seconds{suffix}']:.1f} s)")
