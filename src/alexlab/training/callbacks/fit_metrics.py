"""Measure the metrics that studies compare: train and test in eval mode, at the end of training.

The train metrics of an epoch are means over changing weights, with dropout and augmentation. A
comparison of train and test needs train metrics in eval mode, without augmentation. This takes two
passes over train without gradients and four over test, about the time of one epoch: 3.6% of a run
of 24 epochs, 1.4% of 60 (AlexNet of width 0.5 on 816 images of 64 pixels, measured on a CPU with
`python -m benchmarks.fit_metrics`).

| metric | value |
|---|---|
| `fit/acc`, `fit/loss` | train images in eval mode, with the weights of the best epoch |
| `fit/acc_last`, ... | the same with the weights of the last epoch |
| `test/acc_last_3`, ... | mean of the test metrics after the last three epochs |
| `test/acc_duplicates` | accuracy on the test images that have a duplicate in train |
| `test/acc_unique` | accuracy on the other test images |

With `ema_decay` the weights are the averaged ones, as for val and test. The test values are never
used for a selection. test_predictions.csv has the target and the predictions of each test image,
with the weights of the best epoch: from one crop and from each number of `test_crops`. Duplicates
have the same number in the column `group`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from alexlab.data.datamodule import ImageFolderData
from alexlab.runs.folder import csv_text, write_atomically
from alexlab.training.callbacks.moving_average import validated_net
from alexlab.training.module import Learner, MeanLoss

LAST_EPOCHS = 3
PREDICTIONS = "test_predictions.csv"


class FitMetrics(L.Callback):
    """Log the metrics above during the test, and write test_predictions.csv.

    Args:
        data: Data module with train and test.
        of_crops: {number of crops: predictions [N, K] for test}, filled by `MultiCropTest`.
    """

    def __init__(self, data: ImageFolderData, of_crops: Mapping[int, Tensor] | None = None) -> None:
        self.data = data
        self.of_crops = {} if of_crops is None else of_crops
        self.last_tests: list[dict[str, float]] = []
        self.last_fit: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure test after each of the last three epochs, and train after the last one."""
        left = (trainer.max_epochs or 0) - trainer.current_epoch - 1
        net = validated_net(trainer, pl_module)
        if left < LAST_EPOCHS:
            self.last_tests.append(self._measure(trainer, pl_module, net, "test")[0])
        if left == 0:
            self.last_fit = self._measure(trainer, pl_module, net, "train")[0]

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Measure train with the weights of the best epoch, and log everything."""
        fit = self._measure(trainer, pl_module, pl_module.net, "train")[0]
        found = {f"fit/{k}": v for k, v in fit.items()}
        found |= {f"fit/{k}_last": v for k, v in self.last_fit.items()}
        for name in self.last_tests[0] if len(self.last_tests) == LAST_EPOCHS else []:
            values = [test[name] for test in self.last_tests]
            found[f"test/{name}_last_{LAST_EPOCHS}"] = sum(values) / LAST_EPOCHS
        if trainer.world_size == 1:
            found |= self._per_image(trainer, pl_module)
        pl_module.log_dict(found, sync_dist=False)  # already computed over all ranks

    def _measure(
        self, trainer: L.Trainer, pl_module: Any, net: nn.Module, split: str
    ) -> tuple[dict[str, float], Tensor]:
        """Return the metrics of `net` on a split in eval mode, and its outputs [N, num_outputs]."""
        assert isinstance(pl_module, Learner)
        loader = self.data.train_dataloader() if split == "train" else self.data.test_dataloader()
        metrics = pl_module.task.metrics().to(pl_module.device)
        mean_loss = MeanLoss().to(pl_module.device)
        training, outputs = net.training, []
        net.eval()
        with torch.no_grad():
            for batch in loader:
                images, targets = (part.to(pl_module.device) for part in batch)
                # outside autocast, as in the learner: bfloat16 is too coarse for a DCT or FFT
                inputs = self.data.preprocess(images, training=False).to(pl_module.dtype)
                with trainer.precision_plugin.forward_context():
                    found = net(inputs).float()
                mean_loss.update(pl_module.task.loss(found, targets), len(targets))
                metrics.update(found, targets)
                outputs.append(found)
        net.train(training)
        values = {"loss": mean_loss.compute(), **metrics.compute()}
        return {name: float(value) for name, value in values.items()}, torch.cat(outputs)

    def _per_image(self, trainer: L.Trainer, pl_module: Any) -> dict[str, float]:
        """Write the predictions per test image; return the accuracy with and without duplicates."""
        outputs = {"prediction": self._measure(trainer, pl_module, pl_module.net, "test")[1]}
        outputs |= {f"prediction_{n}_crops": found for n, found in self.of_crops.items()}
        rows = np.concatenate(self.data.test_dataloader().batches())
        targets = self.data.targets.cpu()[rows]
        is_class = outputs["prediction"].shape[1] > 1 and bool(self.data.classes)
        predictions = {
            name: (found.argmax(1) if is_class else found[:, 0]).cpu()
            for name, found in outputs.items()
        }
        index = self.data.cache.index(self.data.load_size if self.data.use_cache else None)
        known = np.isin(index.duplicates[rows], index.duplicates[self.data.indices["train"]])
        columns = {
            "image": rows.tolist(),
            "group": index.duplicates[rows].tolist(),
            "target": [f"{target:.6g}" for target in targets.tolist()],
            **{k: [f"{value:.6g}" for value in v.tolist()] for k, v in predictions.items()},
            "duplicate_in_train": known.astype(int).tolist(),
        }
        table = csv_text([columns, *zip(*columns.values(), strict=True)])
        write_atomically(Path(trainer.default_root_dir) / PREDICTIONS, table)
        if not is_class:
            return {}
        hits = (predictions["prediction"] == targets).double().numpy()
        groups = {"test/acc_duplicates": hits[known], "test/acc_unique": hits[~known]}
        return {name: float(values.mean()) for name, values in groups.items() if len(values)}

    def state_dict(self) -> dict[str, Any]:
        """Return the measurements so far, for a resume in the last three epochs."""
        return {"last_tests": self.last_tests, "last_fit": self.last_fit}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the measurements."""
        self.last_tests, self.last_fit = state_dict["last_tests"], state_dict["last_fit"]
