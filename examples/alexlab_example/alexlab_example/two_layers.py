"""A network with one convolution and one linear layer."""

from torch import Tensor, nn


class TwoLayers(nn.Module):
    """Images [N, in_channels, R, R] -> outputs [N, num_outputs].

    Args:
        num_outputs: Classes.
        in_channels: Of the images.
        resolution: Side of the images; any size fits.
        width: Kernels of the convolution.
    """

    def __init__(
        self, num_outputs: int, *, in_channels: int = 3, resolution: int = 64, width: int = 16
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(4),
        )
        self.classifier = nn.Linear(16 * width, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs for images [N, C, R, R]."""
        outputs: Tensor = self.classifier(self.features(images).flatten(1))
        return outputs
