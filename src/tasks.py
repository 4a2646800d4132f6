"""A task is a loss and the metrics that judge it; it knows no net, no data set and no Lightning.

Five things are asked of a task: `num_outputs` (of the net), `mix(images, targets)` (for training
batches only), `loss(outputs, targets)`, `predict(outputs)` (what people read), and `metrics()`, a
fresh `Metric` for one split, which takes `update(outputs, targets)` and returns {name: scalar} from
`compute()`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchvision.transforms import v2

from src.choices import choose
from src.metrics import ClassificationMetrics, RegressionMetrics

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "l2": F.mse_loss,
    "huber": F.huber_loss,
}


class Classification:
    """Cross-entropy over classes; for two classes also, with `sigmoid`, one output and its BCE.

    `num_outputs` is the number of classes; `self.num_outputs` is what the net must have: 1 with
    `sigmoid`. (The default, a softmax over two, is that model with one redundant logit.) `mixup`
    (Zhang et al. 2018) and `cutmix` (Yun et al. 2019) are the alpha of their Beta distribution,
    drawn once a batch; 0 is off; with both on, a coin decides which one treats the batch.

    Raises:
        ValueError: fewer than two classes, `sigmoid` with more than two, a setting out of range.
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
                f"task=classification needs two classes or more, the data has {num_outputs}; "
                "for scores use task=regression"
            )
        if sigmoid and num_outputs != 2:
            raise ValueError(
                f"task.sigmoid=true is for two classes, the data has {num_outputs}; "
                "use task.sigmoid=false, or two classes"
            )
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"task.label_smoothing={label_smoothing} must be in [0, 1)")
        self._mixers: list[v2.Transform] = []
        for name, mixer, alpha in (("mixup", v2.MixUp, mixup), ("cutmix", v2.CutMix, cutmix)):
            if alpha < 0:
                raise ValueError(f"task.{name}={alpha} must be 0 (off) or a positive alpha")
            if alpha:
                self._mixers.append(mixer(alpha=alpha, num_classes=num_outputs))
        self.num_classes = num_outputs
        self.num_outputs = 1 if sigmoid else num_outputs
        self.label_smoothing = label_smoothing

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images [N, C, R, R], targets [N] int64 -> mixed images, soft targets [N, num_classes].

        With neither mixup nor cutmix: both as they are.
        """
        if not self._mixers:
            return images, targets
        choice = int(torch.randint(len(self._mixers), ())) if len(self._mixers) > 1 else 0
        mixed: tuple[Tensor, Tensor] = self._mixers[choice](images, targets)
        return mixed

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of outputs [N, num_outputs]; targets [N] int64, or soft [N, num_classes]."""
        if self.num_outputs > 1:
            return F.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)
        second = targets[:, 1] if targets.dim() == 2 else targets.to(outputs.dtype)
        smooth = second * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs[:, 0], smooth)

    def predict(self, outputs: Tensor) -> Tensor:
        """Probabilities [N, num_classes] from outputs [N, num_outputs]."""
        if self.num_outputs > 1:
            return outputs.softmax(1)
        second = outputs.sigmoid()
        return torch.cat([1 - second, second], 1)

    def metrics(self) -> Metric:
        """Metrics of one split: acc, top1_error, top5_error, f1."""
        return ClassificationMetrics(self.num_classes)


class Regression:
    """One score an image: L1, L2 or Huber (delta 1) loss of the output as it is.

    `low` and `high` bound the scale of the scores; only reported predictions are clipped to it.

    Raises:
        ValueError: more than one output (the data has classes), an unknown loss, or an empty range.
    """

    def __init__(
        self, num_outputs: int = 1, *, loss: str = "l1", low: float = 1.0, high: float = 10.0
    ) -> None:
        if num_outputs != 1:
            raise ValueError(
                f"task=regression needs one score an image, the data has {num_outputs} classes; "
                "use data=scores, or task=classification"
            )
        if not low < high:
            raise ValueError(f"task.low={low} must be below task.high={high}")
        self.num_outputs = 1
        self.low, self.high = low, high
        self._loss = choose("task.loss", loss, LOSSES)

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The batch as it is: scores are not mixed."""
        return images, targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of outputs [N, 1], not clipped, against scores [N] float32."""
        return self._loss(outputs[:, 0], targets)

    def predict(self, outputs: Tensor) -> Tensor:
        """Scores [N, 1], on the scale."""
        return outputs.clamp(self.low, self.high)

    def metrics(self) -> Metric:
        """Metrics of one split: mae, rmse, spearman."""
        return RegressionMetrics(self.low, self.high)
