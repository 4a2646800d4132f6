"""Published weights: where the files are, reading them without running any code in them."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SHOWN = 2  # wrong keys named in an error


def read_weights(path: Path) -> dict[str, Tensor]:
    """State dict in a local file; only plain tensors are accepted, nothing in it is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds anything but named tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights={path}: no such file")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise ValueError(
            f"weights={path} refused: it holds more than plain tensors, or is cut short; nothing "
            f"in it was executed ({why})"
        ) from error
    named = isinstance(state, dict) and all(isinstance(v, Tensor) for v in state.values())
    if not named or not state:
        raise ValueError(f"weights={path} is no state dict (names of parameters -> tensors)")
    return dict(state)


def load_strictly(
    backbone: nn.Module, state: Mapping[str, Tensor], *, dropped: tuple[str, ...], source: str
) -> None:
    """Copy `state` into `backbone`, all of it; only the parts in `dropped` may be left over.

    Raises:
        ValueError: lists the first keys that are missing, left over, or of another shape.
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
        raise ValueError(f"weights from {source} are not this net's: {'; '.join(faults)}")
    if not any(tensor.is_meta for tensor in own.values()):  # built for its shapes only
        backbone.load_state_dict(used)


def published(url: str) -> Path:
    """The file behind `url` in torch's cache, downloaded (and its hash checked) if not there.

    Raises:
        FileNotFoundError: it cannot be downloaded; says what to fetch and where to put it.
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
            f"and put it into {path.parent}, or say model.weights=FILE (or none)"
        ) from error
    return path
