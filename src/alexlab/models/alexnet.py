"""AlexNet as published in 2012, with arguments for its parts.

Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", section 3: 96-256-384-384-256 kernels, two towers (`groups=2`), LRN, overlapping
pooling, dropout. Deviations: the initial weights are torch's defaults (with the paper's N(0, 0.01),
`init=paper`, nets for small images stay at chance for many epochs), and `stem` adapts to small
images.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from alexlab.errors import lookup
from alexlab.models.activations import activation
from alexlab.models.blocks import DROPOUT_AT, ConvNet, Stages, average_pool
from alexlab.models.resolution import feature_map

# First convolution: kernel size, stride, padding. With `half` at 31 pixels and `cifar` at 15 pixels
# the feature maps have the sides of `imagenet` at 64 pixels (15-7-7-3-3-3-3-1).
STEMS = {"imagenet": (11, 4, 2), "half": (5, 2, 1), "cifar": (5, 1, 2)}
MAP_OF_HEAD = 6  # pixels: the side of the last map at 224 pixels, the input of the paper's fc6


class AlexNet(ConvNet):
    """Build the net; see `ConvNet` for the shapes. R >= 63, or >= 15 with the stem cifar.

    Args:
        norm: none, lrn (after the first two convolutions) or batch (after all five).
        pool: max, avg, conv1x1 or strided, see `blocks.Stages`.
        overlap: Pooling windows of 3 pixels instead of 2; the stride is 2 in both cases.
        groups: 2 for the paper's two towers (convolutions 2, 4 and 5), or 1.
        width: Factor for the kernels of every convolution, rounded to a multiple of 8.
        dropout: Rate before each layer of `head` (the share of zeroed values), or a list of one
            rate for each of them.
        feature_dropout: Rate on feature maps, before each pooling; None means `dropout`, if that
            is one number.
        dropout_at: none, fc, features or both.
        dropout_kind: Dropout on feature maps: element (single values) or channel (whole channels).
        head: Outputs of the dense layers between the features and the last layer.
        pool_before_head: Input of the first dense layer. `adaptive` averages a map larger than
            6x6 to 6x6, and never enlarges a smaller one: 36 copies of a 1x1 map would make fc6
            equal to a layer of 256 inputs, with 36 times the memory and 36 times the effective
            learning rate. `none` flattens the map; `gap` averages each channel to one number.
        stem: First convolution: imagenet (11x11, stride 4), half (5x5, stride 2), cifar (5x5,
            stride 1), or auto: imagenet for R >= 63, half for R >= 31, else cifar.
        init: torch (default), or paper: weights N(0, 0.01); biases 1 in convolutions 2, 4, 5 and
            the dense layers, else 0 (section 5).
    """

    classifier: nn.Sequential
    published: ClassVar[dict[str, str]] = {
        "parameters": "60M",
        "neurons": "650K",
        "weight layers": "8",
        "where": "Krizhevsky, Sutskever and Hinton 2012, abstract: 224x224 images, 1000 classes",
    }

    def __init__(
        self,
        num_outputs: int,
        *,
        in_channels: int = 3,
        resolution: int = 64,
        act: str = "relu",
        norm: str = "lrn",
        pool: str = "max",
        overlap: bool = True,
        groups: int = 2,
        width: float = 1.0,
        dropout: float | Sequence[float] = 0.5,
        feature_dropout: float | None = None,
        dropout_at: str = "fc",
        dropout_kind: str = "element",
        head: Sequence[int] = (4096, 4096),
        pool_before_head: str = "adaptive",
        stem: str = "auto",
        init: str = "torch",
    ) -> None:
        super().__init__()
        a, places = activation(act), lookup("dropout_at", dropout_at, DROPOUT_AT)
        rates = _rates(dropout, len(head))
        stages = Stages(
            act=a,
            norm=norm,
            pool=pool,
            overlap=overlap,
            dropout=_on_features(dropout, feature_dropout) if "features" in places else 0.0,
            dropout_kind=dropout_kind,
        )
        stem = stem_for(resolution) if stem == "auto" else stem
        self.features = _features(stages, in_channels, stem, groups, width)
        maps, side = feature_map(self.features, in_channels, resolution)
        sides = {"adaptive": min(side, MAP_OF_HEAD), "none": side, "gap": 1}
        head_side = lookup("pool_before_head", pool_before_head, sides)
        self.avgpool = average_pool(side, head_side)  # [N, maps, head_side, head_side]
        on_head = rates if "fc" in places else [0.0] * len(head)
        self.classifier = _classifier(maps * head_side**2, head, num_outputs, a, on_head)
        self.notes = (f"stem {stem}", f"pool before head {pool_before_head}")
        if lookup("init", init, {"torch": False, "paper": True}):
            self._init_as_published()

    def _init_as_published(self) -> None:
        zero_bias = (self.features.conv1, self.features.conv3, self.classifier[-1])
        for layer in (*self.features, *self.classifier):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
                if layer.bias is not None:
                    nn.init.constant_(layer.bias, 0.0 if layer in zero_bias else 1.0)


def stem_for(resolution: int) -> str:
    """Choose the coarsest stem whose first map has at least 15x15 pixels."""
    return "imagenet" if resolution >= 63 else "half" if resolution >= 31 else "cifar"


def _features(
    stages: Stages, in_channels: int, stem: str, groups: int, width: float
) -> nn.Sequential:
    size, stride, padding = lookup("stem", stem, STEMS)
    k1, k2, k3, k4, k5 = (_scaled(kernels, width) for kernels in (96, 256, 384, 384, 256))
    stage = stages.stage
    built = [
        stage(in_channels, k1, size, stride=stride, padding=padding, pooled=True),
        stage(k1, k2, 5, padding=2, groups=groups, pooled=True),
        stage(k2, k3, 3, padding=1, lrn=False),
        stage(k3, k4, 3, padding=1, groups=groups, lrn=False),
        stage(k4, k5, 3, padding=1, groups=groups, lrn=False, pooled=True),
    ]
    numbered = [(f"{kind}{i}", part) for i, s in enumerate(built, 1) for kind, part in s.items()]
    return nn.Sequential(OrderedDict(numbered))


def _scaled(kernels: int, width: float) -> int:
    if width <= 0:
        raise ValueError(f"width={width}: must be positive (1.0 is the published net)")
    return max(8, round(kernels * width / 8) * 8)


def _rates(dropout: float | Sequence[float], layers: int) -> list[float]:
    if not isinstance(dropout, Sequence):
        return [dropout] * layers
    if len(dropout) != layers:
        raise ValueError(
            f"dropout={list(dropout)}: write one number, or one rate per layer of head"
            f" (there are {layers})"
        )
    return list(dropout)


def _on_features(dropout: float | Sequence[float], feature_dropout: float | None) -> float:
    if feature_dropout is not None:
        return feature_dropout
    if isinstance(dropout, Sequence):
        raise ValueError(
            f"dropout={list(dropout)}: feature maps need one rate; set feature_dropout too"
        )
    return dropout


def _classifier(
    inputs: int,
    head: Sequence[int],
    num_outputs: int,
    act: type[nn.Module],
    rates: Sequence[float],
) -> nn.Sequential:
    classifier = nn.Sequential()
    # fc6, fc7, ...: the numbers of the paper's layers
    for number, (outputs, rate) in enumerate(zip(head, rates, strict=True), 6):
        if rate:
            classifier.add_module(f"dropout{number}", nn.Dropout(rate))
        classifier.add_module(f"fc{number}", nn.Linear(inputs, outputs))
        classifier.add_module(f"act{number}", act())
        inputs = outputs
    classifier.add_module(f"fc{6 + len(head)}", nn.Linear(inputs, num_outputs))
    return classifier
