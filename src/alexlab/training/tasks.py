"""Define tasks: a loss with its metrics, independent of net, data set and Lightning.

A task has five members: `num_outputs` (of the net), `mix(images, targets)` (training batches only),
`loss(outputs, targets)`, `predict(outputs)` (probabilities or scores), and `metrics()`. The last
returns a new `Metric` for one split with `update(outputs, targets)` and `compute()`, which returns
{name: scalar}.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.regression import spearman_corrcoef
from torchmetrics.utilities import dim_zero_cat
from torchvision.transforms import v2

from alexlab.errors import lookup


class ClassificationMetrics(Metric):
    """Compute accuracy, top-1 and top-5 error and macro-F1, in [0, 1], from counts per class.

    `update` takes outputs [N, num_classes], or [N, 1] logits of the second of two classes, and
    targets [N] int64, or soft targets [N, num_classes] (mixup), reduced to their largest class.
    Macro-F1 averages over the classes that occur as a target or as a prediction. With five classes
    or fewer there is no `top5_error`, since it would always be 0.
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
        """Add the counts of a batch."""
        if targets.dim() == 2:
            targets = targets.argmax(1)
        preds = outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()
        hits = preds == targets
        ones = torch.ones_like(targets)
        where = torch.cat([targets, preds + self.num_classes, targets + 2 * self.num_classes])
        self.counts = self.counts.index_add(0, where, torch.cat([ones, ones, hits.long()]))
        if self.num_classes > 5:  # topk may break a tie against a hit
            in_top5 = (outputs.topk(5).indices == targets[:, None]).any(1) | hits
            self.top5_misses = self.top5_misses + (~in_top5).sum()

    def compute(self) -> dict[str, Tensor]:
        """Return "acc", "top1_error", "f1", and "top5_error" for six classes or more."""
        targets, preds, hits = self.counts.view(3, self.num_classes)
        acc = hits.sum() / targets.sum()
        occurs = (targets + preds) > 0
        f1 = (2 * hits[occurs] / (targets + preds)[occurs]).mean()  # 2TP / (2TP + FP + FN)
        top5 = {"top5_error": self.top5_misses / targets.sum()} if self.num_classes > 5 else {}
        return {"acc": acc, "top1_error": 1 - acc, **top5, "f1": f1}


class RegressionMetrics(Metric):
    """Compute MAE, RMSE (in units of the score) and Spearman's rank correlation.

    Predictions are clipped to the scale [low, high]. All predictions and targets are stored (8
    bytes per image), since ranks need them. The rank correlation of constant predictions is 0.
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
        """Store a batch of outputs [N, 1] and targets [N]."""
        self.preds.append(outputs[:, 0].float().clamp(self.low, self.high))
        self.targets.append(targets.float())

    def compute(self) -> dict[str, Tensor]:
        """Return "mae", "rmse" and "spearman" of the stored batches."""
        preds, targets = dim_zero_cat(self.preds), dim_zero_cat(self.targets)
        error = preds - targets
        spearman = spearman_corrcoef(preds, targets)
        rmse = error.square().mean().sqrt()
        return {"mae": error.abs().mean(), "rmse": rmse, "spearman": spearman}


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "l2": F.mse_loss,
    "huber": F.huber_loss,
}


class Classification:
    """Classify with cross-entropy; for two classes also with one output and binary cross-entropy.

    Args:
        num_outputs: Number of classes. (`self.num_outputs`, for the net, is 1 with `sigmoid`.)
        sigmoid: Use one output for two classes. (The default, a softmax over two outputs, is the
            same model with a redundant logit.)
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
        mixup: Alpha of the Beta distribution of mixup (Zhang et al. 2018), drawn once per batch; 0
            turns it off.
        cutmix: The same for CutMix (Yun et al. 2019). If both are on, each batch uses one of them
            with probability 1/2.

    Raises:
        ValueError: If there are fewer than two classes, more than two with `sigmoid`, or a setting
            is out of range.
    """

    def __init__(
        self,
        num_outputs: int,
        *,
        sigmoid: bool = False,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
    ) -> None:
        if num_outputs < 2:
            raise ValueError(
                f"task=classification: needs two classes or more, the data has {num_outputs}; "
                "for scores use task=regression"
            )
        if sigmoid and num_outputs != 2:
            raise ValueError(
                f"task.sigmoid=true: needs two classes, the data has {num_outputs}; "
                "use task.sigmoid=false, or two classes"
            )
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"task.label_smoothing={label_smoothing}: must be in [0, 1)")
        self._mixers: list[v2.Transform] = []
        for name, mixer, alpha in (("mixup", v2.MixUp, mixup), ("cutmix", v2.CutMix, cutmix)):
            if alpha < 0:
                raise ValueError(f"task.{name}={alpha}: must be 0 (off) or a positive alpha")
            if alpha:
                self._mixers.append(mixer(alpha=alpha, num_classes=num_outputs))
        self.num_classes = num_outputs
        self.num_outputs = 1 if sigmoid else num_outputs
        self.label_smoothing = label_smoothing

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mix images [N, C, R, R] and targets [N] int64; return images, soft targets [N, K].

        Without mixup and CutMix, both are returned unchanged.
        """
        if not self._mixers:
            return images, targets
        choice = int(torch.randint(len(self._mixers), ())) if len(self._mixers) > 1 else 0
        mixed: tuple[Tensor, Tensor] = self._mixers[choice](images, targets)
        return mixed

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of outputs [N, num_outputs] for targets [N] or [N, num_classes]."""
        if self.num_outputs > 1:
            return F.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)
        second = targets[:, 1] if targets.dim() == 2 else targets.to(outputs.dtype)
        smooth = second * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs[:, 0], smooth)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return probabilities [N, num_classes] from outputs [N, num_outputs]."""
        if self.num_outputs > 1:
            return outputs.softmax(1)
        second = outputs.sigmoid()
        return torch.cat([1 - second, second], 1)

    def metrics(self) -> Metric:
        """Return new metrics for one split; see `ClassificationMetrics`."""
        return ClassificationMetrics(self.num_classes)


class Regression:
    """Predict one score per image with L1, L2 or Huber (delta 1) loss of the unclipped output.

    `low` and `high` are the bounds of the scores; only reported predictions are clipped to them.

    Raises:
        ValueError: If the data has classes, the loss is unknown, or `low` is not below `high`.
    """

    def __init__(
        self, num_outputs: int = 1, *, loss: str = "l1", low: float = 1.0, high: float = 10.0
    ) -> None:
        if num_outputs != 1:
            raise ValueError(
                f"task=regression: needs one score per image, the data has {num_outputs} classes; "
                "use data=scores, or task=classification"
            )
        if not low < high:
            raise ValueError(f"task.low={low}: must be below task.high={high}")
        self.num_outputs = 1
        self.low, self.high = low, high
        self._loss = lookup("task.loss", loss, LOSSES)

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch unchanged: scores are not mixed."""
        return images, targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of the unclipped outputs [N, 1] for scores [N] float32."""
        return self._loss(outputs[:, 0], targets)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the scores [N, 1], clipped to [low, high]."""
        return outputs.clamp(self.low, self.high)

    def metrics(self) -> Metric:
        """Return new metrics for one split: mae, rmse, spearman."""
        return RegressionMetrics(self.low, self.high)
