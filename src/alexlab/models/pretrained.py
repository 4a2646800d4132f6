"""Transfer learning: the convolutions of a well-known, pretrained net with a new head.

Frozen layers neither train nor drift: their BatchNorm layers keep the statistics of the images that
they were trained on.
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

GRAY: Statistics = ((0.46,) * 3, (0.25,) * 3)  # of the channel of data.representation=gray
UNIT: Statistics = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # pixels in 0..1, as in many scripts
INPUTS = {"imagenet": IMAGENET, "half": HALF, "unit": UNIT}
HEADS = dict.fromkeys(("linear", "gap_linear", "mlp"))


class Pretrained(nn.Module):
    """Images [N, 3 or 1, R, R], standardised as ImageNet's are -> outputs [N, num_outputs].

    One channel is repeated to three. The smallest resolution depends on the backbone (Inception
    V3: 75).

    Args:
        num_outputs: classes, or 1 for a score.
        name: a net of `backbones.TORCHVISION`, or of timm where that is installed.
        in_channels: 3 or 1.
        resolution: side of the images in pixels.
        weights: none (random), default (published, downloaded once), package (those in an installed
            package: tf_efficientnet_lite0) or a file with a state dict.
        freeze: all, none, all_but_last_k, or a list of names: `[features.0, features.3]` freezes
            the parts of the backbone that are called so.
        k: convolutions (with what follows them) that `all_but_last_k` leaves free.
        head: linear (flatten, one layer), gap_linear (average each map, one layer), or mlp
            (flatten, 1024 ReLU, dropout 0.2, one layer). timm's nets average by themselves.
        backbone_lr_scale: learning rate of the backbone's free part, relative to the head's.
        inputs: the backbone's standardisation: auto (as its weights were trained), imagenet, half
            (-1..1), unit (0..1).
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
        backbone = build_backbone(name, weights)
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
                f"freeze={freeze} with weights=none: the frozen part of {name} stays random",
                stacklevel=2,
            )
        frozen = f"{freeze} k={k}" if freeze == "all_but_last_k" else freeze
        self.notes = (f"weights {Path(weights).name}", f"freeze {frozen}", f"head {head}")
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, 3 or 1, R, R] -> outputs [N, num_outputs]."""
        images = images * self.scale + self.shift  # [N, 3, R, R]: one channel becomes three
        outputs: Tensor = self.head(self.avgpool(self.backbone(images)).flatten(1))
        return outputs

    def train(self, mode: bool = True) -> Self:
        """Set training mode for all but the frozen layers."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the trainable parameters, each group with its rate relative to the run's."""
        free = [p for p in self.backbone.parameters() if p.requires_grad]
        groups = [
            {"name": "head", "params": list(self.head.parameters()), "lr_scale": 1.0},
            {"name": "backbone", "params": free, "lr_scale": self.backbone_lr_scale},
        ]
        return [group for group in groups if group["params"]]


def _restandardise(given: Statistics, wanted: Statistics) -> tuple[Tensor, Tensor]:
    """Compute the scale and shift [3, 1, 1] from one standardisation to another."""
    (mean, std), (new_mean, new_std) = (
        torch.tensor(statistics).view(2, 3, 1, 1) for statistics in (given, wanted)
    )
    return std / new_std, (mean - new_mean) / new_std
