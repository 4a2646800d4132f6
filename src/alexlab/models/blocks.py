"""The form of a plain net, and the exchangeable parts of its convolutional stages.

A stage is convolution, activation and normalisation in the order that the normalisation needs,
dropout, pooling. LRN follows the activation (Krizhevsky et al. 2012, section 3.3); BatchNorm stands
before it, and its convolution has no bias.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from alexlab.errors import lookup
from alexlab.models.lrn import LocalResponseNorm

NORMS = dict.fromkeys(("none", "lrn", "batch"))
POOLS = dict.fromkeys(("max", "avg", "conv1x1", "strided"))
DROPOUT_AT: dict[str, tuple[str, ...]] = {
    "none": (),
    "fc": ("fc",),
    "features": ("features",),
    "both": ("features", "fc"),
}
DROPOUTS: dict[str, type[nn.Module]] = {"element": nn.Dropout, "channel": nn.Dropout2d}


class ConvNet(nn.Module):
    """Images [N, C, R, R] float32 -> outputs [N, num_outputs]: features, avgpool, classifier.

    Every net takes `num_outputs` (classes, or 1 for a score), and by keyword `in_channels` (of the
    images), `resolution` (their side in pixels) and `act` (a name of `activations`).
    """

    features: nn.Sequential
    avgpool: nn.Module
    classifier: nn.Module

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, C, R, R] -> outputs [N, num_outputs]."""
        outputs: Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return outputs


class AveragePool(nn.Module):
    """Average maps [N, C, before, before] to [N, C, after, after], as nn.AdaptiveAvgPool2d does.

    PyTorch has no deterministic gradient of that layer on a GPU. If one is asked for there
    (deterministic=true), the same averages are computed as two matrix products.
    """

    windows: Tensor  # [after, before]: the weight of each pixel in each average

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        windows = torch.zeros(after, before)
        for i in range(after):
            first, end = i * before // after, -(-(i + 1) * before // after)
            windows[i, first:end] = 1 / (end - first)
        self.register_buffer("windows", windows, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Average each window; other sizes than `before` are left to torch's layer."""
        expected = maps.shape[2:] == (self.windows.shape[1],) * 2
        if expected and maps.is_cuda and torch.are_deterministic_algorithms_enabled():
            return self.as_products(maps)
        return functional.adaptive_avg_pool2d(maps, len(self.windows))

    def as_products(self, maps: Tensor) -> Tensor:
        """Average the rows, then the columns, in float32."""
        with torch.autocast(maps.device.type, enabled=False):
            averages: Tensor = self.windows @ maps.float() @ self.windows.T
        return averages.to(maps.dtype)


def average_pool(before: int, after: int) -> nn.Module:
    """Build the layer that averages maps of side `before` to side `after`; none if they agree."""
    if before == after:
        return nn.Identity()
    return nn.AdaptiveAvgPool2d(1) if after == 1 else AveragePool(before, after)


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Build the convolutional stages of one net, which have these parts in common.

    pool: `max` or `avg` over windows of 3 with stride 2 (overlapping), or of 2 with stride 2;
        `conv1x1`: a linear 1x1 convolution with stride 2 in place of the pooling layer;
        `strided`: no pooling layer, the convolution before it takes the stride. These two sample
        where the middle of each pooling window would be, so that all four give maps of one size
        and the same head follows.
    dropout: rate of dropout on the feature maps, between a stage and its pooling.
    """

    act: type[nn.Module]
    norm: str = "none"
    pool: str = "max"
    overlap: bool = True
    dropout: float = 0.0
    dropout_kind: str = "element"

    def __post_init__(self) -> None:
        """Raise ValueError for names that do not exist."""
        lookup("norm", self.norm, NORMS)
        lookup("pool", self.pool, POOLS)
        lookup("dropout_kind", self.dropout_kind, DROPOUTS)

    def stage(
        self,
        maps: int,
        kernels: int,
        size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        lrn: bool = True,
        pooled: bool = False,
    ) -> dict[str, nn.Module]:
        """Layers by kind, for maps [N, maps, H, W] -> [N, kernels, H', W'].

        lrn: whether this stage is normalised under `norm=lrn` (BatchNorm stands in every stage).
        """
        batch = self.norm == "batch"
        layers: dict[str, nn.Module] = {}
        if pooled and self.pool == "strided":
            layers["pad"] = nn.ZeroPad2d(self._sampled(stride, padding))
            stride, padding = 2 * stride, 0
        layers["conv"] = nn.Conv2d(maps, kernels, size, stride, padding, 1, groups, bias=not batch)
        if batch:
            layers["norm"] = nn.BatchNorm2d(kernels)
        layers["act"] = self.act()
        if self.norm == "lrn" and lrn:
            layers["norm"] = LocalResponseNorm()
        if pooled and self.dropout:
            layers["dropout"] = DROPOUTS[self.dropout_kind](self.dropout)
        if pooled and self.pool != "strided":
            layers["pool"] = self._pooling(kernels, groups)
        return layers

    def _pooling(self, maps: int, groups: int) -> nn.Module:
        if self.pool == "conv1x1":
            sample = nn.ZeroPad2d(self._sampled(1, 0))
            return nn.Sequential(sample, nn.Conv2d(maps, maps, 1, 2, groups=groups))
        pooling = nn.MaxPool2d if self.pool == "max" else nn.AvgPool2d
        return pooling(3 if self.overlap else 2, 2)

    def _sampled(self, stride: int, padding: int) -> tuple[int, int, int, int]:
        """Return the padding (left, right, top, bottom) that samples positions 1, 3, 5, ..."""
        first = padding - stride
        last = first if self.overlap else padding
        return first, last, first, last
