"""Metrics of one split, as one torchmetrics `Metric` whose `compute()` returns {name: scalar}.

One metric a split, not a collection of several: it costs 0.02 ms a batch of 16 and 5 classes on the
CPU where a collection of three costs 0.3 ms. The states are persistent, so that a run which goes on
in the middle of an epoch reports what the unbroken run reports, and they add up over processes.
"""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.regression import spearman_corrcoef
from torchmetrics.utilities import dim_zero_cat


class ClassificationMetrics(Metric):
    """Accuracy, top-1 and top-5 error and macro-F1, fractions in [0, 1], from counts per class.

    Takes outputs [N, num_classes], or [N, 1] logits of the second of two classes, and targets [N]
    int64, or [N, num_classes] soft (mixup), of which the largest counts. Macro-F1 averages over the
    classes that occur, as a target or as a prediction. With five classes or fewer, every class is
    among the first five, so that `top5_error` is 0.
    """

    full_state_update = False
    counts: Tensor
    top5_misses: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        counts = torch.zeros(3 * num_classes, dtype=torch.long)  # targets | predictions | hits
        self.add_state("counts", counts, dist_reduce_fx="sum", persistent=True)
        self.add_state("top5_misses", torch.tensor(0), dist_reduce_fx="sum", persistent=True)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count one batch."""
        if targets.dim() == 2:
            targets = targets.argmax(1)
        preds = outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()
        hits = preds == targets
        ones = torch.ones_like(targets)
        where = torch.cat([targets, preds + self.num_classes, targets + 2 * self.num_classes])
        self.counts = self.counts.index_add(0, where, torch.cat([ones, ones, hits.long()]))
        if self.num_classes > 5:  # a hit is among the five whatever topk makes of ties
            in_top5 = (outputs.topk(5).indices == targets[:, None]).any(1) | hits
            self.top5_misses = self.top5_misses + (~in_top5).sum()

    def compute(self) -> dict[str, Tensor]:
        """{"acc", "top1_error", "top5_error", "f1"} of all that was counted."""
        targets, preds, hits = self.counts.view(3, self.num_classes)
        acc = hits.sum() / targets.sum()
        seen = (targets + preds) > 0
        f1 = (2 * hits[seen] / (targets + preds)[seen]).mean()  # 2TP / (2TP + FP + FN)
        top5_error = self.top5_misses / targets.sum()
        return {"acc": acc, "top1_error": 1 - acc, "top5_error": top5_error, "f1": f1}


class RegressionMetrics(Metric):
    """MAE and RMSE (in scores) and Spearman's rank correlation of predictions clipped to the scale.

    Keeps every prediction, 8 bytes an image, since ranks need them all. A net that gives all images
    one score has a rank correlation of 0.
    """

    full_state_update = False
    preds: list[Tensor]
    targets: list[Tensor]

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.add_state("preds", [], dist_reduce_fx="cat", persistent=True)
        self.add_state("targets", [], dist_reduce_fx="cat", persistent=True)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Keep one batch of outputs [N, 1] and targets [N]."""
        self.preds.append(outputs[:, 0].float().clamp(self.low, self.high))
        self.targets.append(targets.float())

    def compute(self) -> dict[str, Tensor]:
        """{"mae", "rmse", "spearman"} of all that was kept."""
        preds, targets = dim_zero_cat(self.preds), dim_zero_cat(self.targets)
        error = preds - targets
        spearman = spearman_corrcoef(preds, targets)
        rmse = error.square().mean().sqrt()
        return {"mae": error.abs().mean(), "rmse": rmse, "spearman": spearman}
