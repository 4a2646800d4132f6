"""The regression article's small CNN that rates images: two 5x5 convolutions, one dense layer.

At 128 pixels it has 53,879,697 parameters, *more* than the article's AlexNet (43,767,121), and its
dense layer has an input map of 29x29. The answer to that article is wrong about both.
"""

from torch import nn

from alexlab.errors import lookup
from alexlab.models.activations import activation
from alexlab.models.blocks import DROPOUT_AT, DROPOUTS, ConvNet
from alexlab.models.keras import glorot
from alexlab.models.resolution import feature_map


class ScoreCNN(ConvNet):
    """Build the net; see `ConvNet` for the shapes. R >= 16.

    Args:
        dropout: Rate after the dense layer.
        feature_dropout: Rate after each convolution.
        dropout_at: none, fc, features or both (the article).
        dropout_kind: Dropout on feature maps: element (the article), or channel (its answer).
    """

    def __init__(
        self,
        num_outputs: int,
        *,
        in_channels: int = 3,
        resolution: int = 128,
        act: str = "relu",
        dropout: float = 0.4,
        feature_dropout: float = 0.15,
        dropout_at: str = "both",
        dropout_kind: str = "element",
    ) -> None:
        super().__init__()
        a = activation(act)
        places = lookup("dropout_at", dropout_at, DROPOUT_AT)
        features_drop = lookup("dropout_kind", dropout_kind, DROPOUTS)
        rate = feature_dropout if "features" in places else 0.0
        self.features = nn.Sequential(
            *[nn.Conv2d(in_channels, 32, 5), a(), features_drop(rate), nn.MaxPool2d(2)],
            *[nn.Conv2d(32, 64, 5), a(), features_drop(rate), nn.MaxPool2d(2)],
        )
        maps, side = feature_map(self.features, in_channels, resolution)
        self.avgpool = nn.Identity()  # [N, 64, 29, 29] at 128 pixels
        self.classifier = nn.Sequential(
            *[nn.Linear(maps * side**2, 1000), a(), nn.Dropout(dropout if "fc" in places else 0.0)],
            nn.Linear(1000, num_outputs),
        )
        glorot(self)
