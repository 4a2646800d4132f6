"""Use the convolutions of a pretrained net with a new head (transfer learning).

Frozen layers do not change: their BatchNorm layers stay in eval mode and keep their statistics.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from alexlab.errors import lookup
from alexlab.models.backbones import HALF, IMAGENET, Statistics, build_backbone, freeze_layers
from alexlab.models.resolution import feature_map

GRAY: Statistics = ((0.46,) * 3, (0.25,) * 3)  # those of data.representation=gray
UNIT: Statistics = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # pixels in 0..1, as in many scripts
INPUTS = {"imagenet": IMAGENET, "half": HALF, "unit": UNIT}
HEADS = dict.fromkeys(("linear", "gap_linear", "mlp"))


class Pretrained(nn.Module):
    """Map images [N, 3 or 1, R, R], standardised like ImageNet's, to outputs [N, num_outputs].

    A single channel is repeated three times. The smallest R depends on the backbone (Inception V3:
    75).

    Args:
        num_outputs: Number of classes, or 1 for a score.
        name: A net of `backbones.TORCHVISION`, or of timm if that is installed.
        in_channels: 3 or 1.
        resolution: R, side of the images in pixels.
        weights: none (random), default (published, downloaded once), package (from an installed
            package: tf_efficientnet_lite0) or a file with a state dict.
        weights_dir: Folder in which that file is looked up if it is not found from the working
            directory. Where the file is cannot change a result.
        freeze: all, none, all_but_last_k, or a list of the backbone's submodules, such as
            `[features.0, features.3]`.
        k: Number of convolution and linear layers that `all_but_last_k` does not freeze.
        head: linear (flatten, linear), gap_linear (global average pooling, linear), or mlp
            (flatten, linear 1024, ReLU, dropout 0.2, linear). timm's nets pool by themselves.
        backbone_lr_scale: Learning rate of the trainable backbone layers, relative to the head's.
        inputs: Standardisation for the backbone: auto (as for its weights), imagenet, half
            (-1..1) or unit (0..1).

    Raises:
        ValueError: If an argument is unknown or out of range, or the weights do not fit.
        FileNotFoundError: If the weights are missing and cannot be downloaded.
    """

    scale: Tensor  # [3, 1, 1]
    shift: Tensor

    def __init__(
        self,
        num_outputs: int,
        *,
        name: str,
        in_channels: int = 3,
        resolution: int = 224,
        weights: str = "default",
        weights_dir: str = "",
        freeze: str | Sequence[str] = "none",
        k: int = 2,
        head: str = "gap_linear",
        backbone_lr_scale: float = 1.0,
        inputs: str = "auto",
    ) -> None:
        super().__init__()
        lookup("head", head, HEADS)
        if in_channels not in (1, 3):
            raise ValueError(f"{name} takes images of 3 channels, or 1 repeated, not {in_channels}")
        backbone = build_backbone(name, weights, weights_dir)
        self.name, self.backbone_lr_scale = name, backbone_lr_scale
        self.backbone = backbone.net
        maps, side = feature_map(self.backbone, 3, resolution)
        gap = head == "gap_linear"
        self.avgpool = nn.AdaptiveAvgPool2d(1) if gap and side > 1 else nn.Identity()
        features = maps if gap else maps * side**2
        hidden = [nn.Linear(features, 1024), nn.ReLU(), nn.Dropout(0.2)] if head == "mlp" else []
        self.head = nn.Sequential(*hidden, nn.Linear(1024 if hidden else features, num_outputs))
        wanted = lookup("inputs", inputs, {"auto": backbone.inputs, **INPUTS})
        scale, shift = _restandardise(IMAGENET if in_channels == 3 else GRAY, wanted)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        self._frozen = freeze_layers(self.backbone, freeze, k)
        if self._frozen and weights == "none":
            warnings.warn(
                f"freeze={freeze} with weights=none: the frozen layers of {name} stay random",
                stacklevel=2,
            )
        frozen = f"{freeze} k={k}" if freeze == "all_but_last_k" else freeze
        self.notes = (f"weights {Path(weights).name}", f"freeze {frozen}", f"head {head}")
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, 3 or 1, R, R] to outputs [N, num_outputs]."""
        images = images * self.scale + self.shift  # [N, 3, R, R]: one channel becomes three
        outputs: Tensor = self.head(self.avgpool(self.backbone(images)).flatten(1))
        return outputs

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all layers except the frozen ones, which stay in eval mode."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the trainable parameters in groups with a factor `lr_scale` for the base rate."""
        free = [p for p in self.backbone.parameters() if p.requires_grad]
        groups = [
            {"name": "head", "params": list(self.head.parameters()), "lr_scale": 1.0},
            {"name": "backbone", "params": free, "lr_scale": self.backbone_lr_scale},
        ]
        return [group for group in groups if group["params"]]


def _restandardise(given: Statistics, wanted: Statistics) -> tuple[Tensor, Tensor]:
    """Compute the scale and shift [3, 1, 1] that convert one standardisation to another."""
    (mean, std), (new_mean, new_std) = (
        torch.tensor(statistics).view(2, 3, 1, 1) for statistics in (given, wanted)
    )
    return std / new_std, (mean - new_mean) / new_std
