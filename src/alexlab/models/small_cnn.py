"""A fast baseline: five stages of 3x3 convolution, BatchNorm, activation and 2x2 max pooling."""

from itertools import pairwise

from torch import nn

from alexlab.models.activations import activation
from alexlab.models.blocks import ConvNet
from alexlab.models.resolution import feature_map


class SmallCNN(ConvNet):
    """Build a net of 191k parameters, which learns data=shapes in ten epochs; see `ConvNet`.

    R >= 32.
    """

    def __init__(
        self, num_outputs: int, *, in_channels: int = 3, resolution: int = 64, act: str = "relu"
    ) -> None:
        super().__init__()
        a = activation(act)
        self.features = nn.Sequential()  # [N, 128, R/32, R/32]
        for maps, kernels in pairwise((in_channels, 16, 32, 64, 96, 128)):
            conv = nn.Conv2d(maps, kernels, 3, padding=1, bias=False)  # BatchNorm has a bias
            self.features.extend([conv, nn.BatchNorm2d(kernels), a(), nn.MaxPool2d(2)])
        maps, _ = feature_map(self.features, in_channels, resolution)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(maps, num_outputs)
