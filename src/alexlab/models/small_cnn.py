"""A quick baseline: five Conv-BatchNorm-act stages of 3x3 kernels, each halved by max pooling."""

from itertools import pairwise

from torch import nn

from alexlab.models.activations import activation
from alexlab.models.blocks import ConvNet
from alexlab.models.resolution import feature_map


class SmallCNN(ConvNet):
    """191k parameters; learns the generated shapes (64 pixels, 700 images) in ten epochs. R >= 32.

    See `ConvNet`.
    """

    def __init__(
        self, num_outputs: int, *, in_channels: int = 3, resolution: int = 64, act: str = "relu"
    ) -> None:
        super().__init__()
        a = activation(act)
        self.features = nn.Sequential()  # [N, 128, R/32, R/32]
        for maps, kernels in pairwise((in_channels, 16, 32, 64, 96, 128)):
            conv = nn.Conv2d(maps, kernels, 3, padding=1, bias=False)  # BatchNorm has the bias
            self.features.extend([conv, nn.BatchNorm2d(kernels), a(), nn.MaxPool2d(2)])
        maps, _ = feature_map(self.features, in_channels, resolution)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(maps, num_outputs)
