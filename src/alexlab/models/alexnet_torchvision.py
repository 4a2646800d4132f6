"""AlexNet with one tower (Krizhevsky 2014, arXiv 1404.5997), as in torchvision.

It has fewer kernels than the 2012 net (64-192-384-256-256) and no normalisation. State dicts are
interchangeable with those of `torchvision.models.alexnet`.
"""

from torch import nn

from alexlab.models.activations import activation
from alexlab.models.blocks import ConvNet, average_pool
from alexlab.models.resolution import feature_map


class AlexNetTorchvision(ConvNet):
    """Build the net; see `ConvNet` for the shapes. R >= 63.

    The classifier always gets 6x6 maps, because torchvision's weights have 9,216 inputs. At lower
    resolutions the average pooling enlarges the map: at 64 pixels it repeats each value of the 1x1
    map 36 times, and `classifier.1` is equal to a layer of 256 inputs with 36 times the memory and
    36 times the effective learning rate. `AlexNet` never enlarges.
    """

    def __init__(
        self,
        num_outputs: int,
        *,
        in_channels: int = 3,
        resolution: int = 64,
        act: str = "relu",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        a = activation(act)
        self.features = nn.Sequential(
            *[nn.Conv2d(in_channels, 64, 11, stride=4, padding=2), a(), nn.MaxPool2d(3, 2)],
            *[nn.Conv2d(64, 192, 5, padding=2), a(), nn.MaxPool2d(3, 2)],
            *[nn.Conv2d(192, 384, 3, padding=1), a()],
            *[nn.Conv2d(384, 256, 3, padding=1), a()],
            *[nn.Conv2d(256, 256, 3, padding=1), a(), nn.MaxPool2d(3, 2)],
        )
        _, side = feature_map(self.features, in_channels, resolution)
        if side < 6:
            self.notes = (f"{side}x{side} maps enlarged to 6x6, as torchvision does",)
        self.avgpool = average_pool(side, 6)  # [N, 256, 6, 6]
        self.classifier = nn.Sequential(
            *[nn.Dropout(dropout), nn.Linear(256 * 36, 4096), a()],
            *[nn.Dropout(dropout), nn.Linear(4096, 4096), a()],
            nn.Linear(4096, num_outputs),
        )
