"""Define the structure of a plain net, and the exchangeable parts of its convolutional stages.

A stage has a convolution, an activation, a normalisation, dropout and pooling. LRN comes after the
activation (Krizhevsky et al. 2012, section 3.3). BatchNorm comes before the activation, and its
convolution has no bias.
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
    """Map images [N, C, R, R] float32 to outputs [N, num_outputs]: features, avgpool, classifier.

    The arguments of every net: `num_outputs` (classes, or 1 for a score), and by keyword
    `in_channels` (C), `resolution` (R, in pixels) and `act` (a name of `activations`).
    """

    features: nn.Sequential
    avgpool: nn.Module
    classifier: nn.Module

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, R, R] to outputs [N, num_outputs]."""
        outputs: Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return outputs


class AveragePool(nn.Module):
    """Average maps [N, C, before, before] to [N, C, after, after] like nn.AdaptiveAvgPool2d.

    PyTorch has no deterministic gradient of that layer on a GPU. With deterministic=true, two
    matrix products compute the same averages there.
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
        """Average each window; torch's function handles sizes other than `before`."""
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
    """Build the layer that averages maps of side `before` to side `after`; Identity if equal."""
    if before == after:
        return nn.Identity()
    return nn.AdaptiveAvgPool2d(1) if after == 1 else AveragePool(before, after)


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Build the convolutional stages of one net with these common settings.

    Args:
        pool: `max` or `avg` pooling with stride 2; `conv1x1`, a linear 1x1 convolution with
            stride 2 instead of the pooling; or `strided`, no pooling but twice the stride in the
            convolution before it. The last two sample the middle of each pooling window: the maps
            have the same sizes for all four, and the same head fits.
        overlap: Pooling windows of 3 pixels instead of 2.
        dropout: Rate of dropout on the feature maps, before the pooling.
    """

    act: type[nn.Module]
    norm: str = "none"
    pool: str = "max"
    overlap: bool = True
    dropout: float = 0.0
    dropout_kind: str = "element"

    def __post_init__(self) -> None:
        """Raise ValueError for unknown names."""
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
        """Return {kind: layer}, in order, for maps [N, maps, H, W] -> [N, kernels, H', W'].

        `lrn` tells whether `norm=lrn` applies to this stage; `norm=batch` applies to all stages.
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
