"""A quick baseline: five Conv-BatchNorm-act stages of 3x3 kernels, each halved by max pooling."""

from torch import Tensor, nn

from src.models.activations import activation
from src.models.resolution import feature_map


class SmallCNN(nn.Module):
    """191k parameters; learns the generated shapes (64 pixels, 700 images) in ten epochs.

    Images [N, C, R, R] float32, R >= 32 -> outputs [N, num_outputs].
    """

    def __init__(
        self, num_outputs: int, *, in_channels: int = 3, resolution: int = 64, act: str = "relu"
    ) -> None:
        super().__init__()
        a = activation(act)
        layers: list[nn.Module] = []
        maps = in_channels
        for kernels in (16, 32, 64, 96, 128):
            conv = nn.Conv2d(maps, kernels, 3, padding=1, bias=False)  # BatchNorm has the bias
            layers += [conv, nn.BatchNorm2d(kernels), a(), nn.MaxPool2d(2)]
            maps = kernels
        self.features = nn.Sequential(*layers)  # [N, 128, R/32, R/32]
        feature_map(self.features, in_channels, resolution)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(maps, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, C, R, R] -> outputs [N, num_outputs]."""
        pooled: Tensor = self.avgpool(self.features(images)).flatten(1)  # [N, 128]
        outputs: Tensor = self.classifier(pooled)
        return outputs
