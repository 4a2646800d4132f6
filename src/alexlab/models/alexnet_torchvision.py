"""AlexNet in the one-tower form of 2014 (Krizhevsky, arXiv 1404.5997), as torchvision has it.

Fewer kernels than the 2012 net (64-192-384-256-256), no normalisation; state dicts are
interchangeable with `torchvision.models.alexnet`.
"""

from torch import nn

from alexlab.models.activations import activation
from alexlab.models.blocks import ConvNet, average_pool
from alexlab.models.resolution import feature_map


class AlexNetTorchvision(ConvNet):
    """See `ConvNet`; R >= 63.

    The average pooling always hands 6x6 maps to the classifier, because the state dict asks for
    9,216 inputs. Below 224 pixels this enlarges: at 64 px each value of the 1x1 map is repeated
    36 times, so that `classifier.1` computes what a layer of 256 inputs could, with 36 times its
    memory and 36 times its effective learning rate. `AlexNet` never enlarges.
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
