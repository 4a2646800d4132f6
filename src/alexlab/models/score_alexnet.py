"""The regression article's variant of AlexNet for scores: 43,767,121 parameters at 128 pixels.

It differs from the 2012 paper: padding is "same" everywhere, the second convolution has 11x11
kernels, pooling windows of 2 do not overlap, and there is a third dense layer of 1000.
"""

from torch import nn

from alexlab.models.activations import activation
from alexlab.models.blocks import ConvNet
from alexlab.models.keras import SameConv2d, glorot, same_pool
from alexlab.models.resolution import feature_map


class ScoreAlexNet(ConvNet):
    """Build the net; see `ConvNet`. `dropout` is the rate after each of the three dense layers.

    `stride` is that of the first convolution. At 128 pixels the last map is 4x4 for stride 4, which
    may be too small according to the article's answer; 8x8 for 2, and 16x16 for 1.
    """

    def __init__(
        self,
        num_outputs: int,
        *,
        in_channels: int = 3,
        resolution: int = 128,
        act: str = "relu",
        dropout: float = 0.4,
        stride: int = 4,
    ) -> None:
        super().__init__()
        a = activation(act)
        self.features = nn.Sequential(
            *[SameConv2d(in_channels, 96, 11, stride), a(), same_pool()],
            *[SameConv2d(96, 256, 11), a(), same_pool()],
            *[SameConv2d(256, 384, 3), a()],
            *[SameConv2d(384, 384, 3), a()],
            *[SameConv2d(384, 256, 3), a(), same_pool()],
        )
        maps, side = feature_map(self.features, in_channels, resolution)
        self.avgpool = nn.Identity()  # [N, 256, 4, 4] at 128 pixels
        self.classifier = nn.Sequential(
            *[nn.Linear(maps * side**2, 4096), a(), nn.Dropout(dropout)],
            *[nn.Linear(4096, 4096), a(), nn.Dropout(dropout)],
            *[nn.Linear(4096, 1000), a(), nn.Dropout(dropout)],
            nn.Linear(1000, num_outputs),
        )
        glorot(self)
