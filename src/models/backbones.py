"""Well-known classifiers without their heads, by name: torchvision's, and timm's if installed."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torchvision
from torch import nn

from src.choices import near
from src.models.weights import load_strictly, published, read_weights

TORCHVISION = (
    *("alexnet", "vgg16", "squeezenet1_0", "squeezenet1_1", "resnet18", "resnet50"),
    *("inception_v3", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
)
# What stands behind the last feature map in torchvision's nets, and is replaced by a head.
BEHIND = ("avgpool", "dropout", "fc", "classifier", "AuxLogits")

Statistics = tuple[Sequence[float], Sequence[float]]  # mean and std of each channel, of pixels 0..1
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: Statistics = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # pixels in -1..1


@dataclass(frozen=True)
class Backbone:
    """A net without its classifier, and what is known about it."""

    net: nn.Module  # [N, 3, R, R] -> maps [N, C, side, side]; timm's nets pool: [N, C]
    inputs: Statistics  # how its images were standardised when its weights were trained
    behind: tuple[str, ...]  # parts of the whole net that `net` lacks
    url: str | None  # of its published weights; None where timm fetches them itself


def build_backbone(name: str, weights: str) -> Backbone:
    """The backbone `name` with `weights` = none (random), default (published) or a local file.

    Raises:
        ValueError: unknown name, or weights that do not fit or are refused.
        FileNotFoundError: weights that are not there, and cannot be downloaded.
    """
    if name not in TORCHVISION and _in_timm(name):
        found = _timm(name, pretrained=weights == "default")
    else:
        found = _torchvision(name, random=weights == "none")
    if weights == "default" and found.url:
        path = published(found.url)
    elif weights in ("none", "default"):
        return found
    else:
        path = Path(weights)
    load_strictly(found.net, read_weights(path), dropped=found.behind, source=path.name)
    return found


def _torchvision(name: str, *, random: bool) -> Backbone:
    if name not in TORCHVISION:
        timm = (
            "no such net in timm either" if find_spec("timm") else "installing timm adds its nets"
        )
        raise ValueError(f"name={name!r} is unknown{near(name, TORCHVISION)}; {timm}")
    options: dict[str, Any] = {"init_weights": random} if name == "inception_v3" else {}
    whole = torchvision.models.get_model(name, weights=None, **options)
    parts = [(part, layer) for part, layer in whole.named_children() if part not in BEHIND]
    return Backbone(
        net=nn.Sequential(OrderedDict(parts)),
        inputs=HALF if name == "inception_v3" else IMAGENET,
        behind=BEHIND,
        url=torchvision.models.get_model_weights(name).DEFAULT.url,
    )


def _in_timm(name: str) -> bool:
    return find_spec("timm") is not None and bool(import_module("timm").is_model(name))


def _timm(name: str, *, pretrained: bool) -> Backbone:
    try:
        net = import_module("timm").create_model(name, pretrained=pretrained, num_classes=0)
    except Exception as error:  # the hub's many ways to say that it was not reached
        raise FileNotFoundError(
            f"weights not available: timm could not fetch those of {name} "
            f"({type(error).__name__}). Say model.weights=FILE, or none"
        ) from error
    known = net.pretrained_cfg
    classifier = known.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else classifier
    return Backbone(
        net=net,
        inputs=(known["mean"], known["std"]),
        behind=tuple(part.split(".")[0] for part in names),
        url=None,
    )
