"""Checkpoints on disk: written whole, with a checksum; read without running any code in them.

The checkpoint before stays beside the newest, as `last.previous.ckpt`, and is used when that is
damaged.
"""

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from src.checksum import Damaged, Hashed, check
from src.durable import whole

FORMAT = 1


def previous(path: Path) -> Path:
    """Where the checkpoint before the newest is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write `content`; what `path` was stays beside it (see `previous`).

    Raises:
        OSError: It cannot be written; the checkpoint before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path, keep=previous(path)) as file:
        hashed = Hashed(file)
        torch.save({"format": FORMAT, **content}, hashed)  # type: ignore[arg-type]
        hashed.seal()


def load(path: Path, device: Any = "cpu", *, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint's plain containers and tensors onto `device`; nothing in it is executed.

    With `mmap` a tensor is read from disk when it is used.

    Raises:
        Damaged: The file is cut short or corrupted.
        ValueError: It holds anything but plain data, or is of a newer format.
    """
    check(path)
    try:
        mmap = mmap and zipfile.is_zipfile(path)  # of another form, torch has to read it
        content = torch.load(path, map_location=device, weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        named = f" ({found[1]})" if found else ""
        raise ValueError(
            f"{path} is no checkpoint of ours: it holds other things than plain data{named}, and"
            " reading them could run any code"
        ) from None
    except Exception as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise Damaged(f"{path} is damaged or no checkpoint: {why}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no checkpoint of ours: it holds a {type(content).__name__}")
    if content.get("format", FORMAT) != FORMAT:
        raise ValueError(
            f"{path} is a checkpoint of format {content['format']}, this version reads"
            f" format {FORMAT}: use the version that wrote it, or a newer one"
        )
    return content


def whole_ones(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The newest checkpoint at `path`, then the one before it, without those that are damaged.

    Each is memory-mapped. What is damaged is said.
    """
    for one in (path, previous(path)):
        try:
            yield one, load(one, mmap=True)
        except FileNotFoundError:
            continue
        except Damaged as error:
            rank_zero_only(print)(f"warning: {error}")


def check_fits(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> None:
    """Compare the weights of a checkpoint with those of the net that shall take them.

    Raises:
        ValueError: They are of another architecture; says what differs.
    """
    shapes = {
        name: [str(list(side[name].shape)) if name in side else "missing" for side in (state, own)]
        for name in {**own, **state}
    }
    differ = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
    if differ:
        name, (there, here) = next(iter(differ.items()))
        more = f", and {len(differ) - 1} more differ" if len(differ) > 1 else ""
        raise ValueError(
            f"{path} is of another network: {name} is {there} there and {here} here{more}"
        )


class DurableCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, through `save` and `load`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, *_: Any, **__: Any) -> None:
        """See `save`."""
        save(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, *_: Any, **__: Any) -> Any:
        """See `load`."""
        return load(Path(path), map_location or "cpu")
