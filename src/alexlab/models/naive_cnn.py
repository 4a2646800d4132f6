"""The pretraining article's "naive" CNN: two 3x3 convolutions, one pooling, two small dense layers.

It has 19,226,379 parameters for three classes of grey 100-pixel images; in the article it was
better than four pretrained nets. Here the softmax is part of the loss.
"""

from torch import nn

from alexlab.models.activations import activation
from alexlab.models.blocks import ConvNet
from alexlab.models.keras import glorot
from alexlab.models.resolution import feature_map


class NaiveCNN(ConvNet):
    """Build the net; see `ConvNet`. R >= 2; `dropout` has the rates after the two dense layers."""

    def __init__(
        self,
        num_outputs: int,
        *,
        in_channels: int = 1,
        resolution: int = 100,
        act: str = "relu",
        dropout: tuple[float, float] = (0.25, 0.4),
    ) -> None:
        super().__init__()
        a = activation(act)
        self.features = nn.Sequential(
            *[nn.Conv2d(in_channels, 32, 3, padding=1), a()],
            *[nn.Conv2d(32, 64, 3, padding=1), a(), nn.MaxPool2d(2)],
        )
        maps, side = feature_map(self.features, in_channels, resolution)
        self.avgpool = nn.Identity()  # [N, 64, 50, 50] at 100 pixels
        self.classifier = nn.Sequential(
            *[nn.Linear(maps * side**2, 120), a(), nn.Dropout(dropout[0])],
            *[nn.Linear(120, 60), a(), nn.Dropout(dropout[1])],
            nn.Linear(60, num_outputs),
        )
        glorot(self)
