"""Checkpoints on disk: written whole, with a checksum; read without running any code in them.

The checkpoint before stays beside the newest, as `last.previous.ckpt`, and is used when that is
damaged.
"""

import hashlib
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from alexlab.runs.atomic import atomic_write

COMMENT = re.compile(rb"sha256:([0-9a-f]{64})")
COMMENT_SIZE, END = 71, b"PK\x05\x06"  # a zip archive ends with 22 bytes, and its comment


class CorruptedCheckpointError(ValueError):
    """A checkpoint that is cut short or corrupted."""


class HashingWriter:
    """A binary file that hashes what is written to it.

    torch's writer, in C++, does not survive an exception: an error waits here until it is done.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha256 = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Take bytes, and put them into the file while it takes them."""
        if self.error is None:
            self.sha256.update(data)
            try:
                self.file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Nothing: the file is flushed by who has opened it."""

    def seal(self) -> None:
        """Write the checksum of all that comes before it, with the comment's length still at 0."""
        if self.error is not None:
            raise self.error
        self.file.seek(-2, 2)
        comment = f"sha256:{self.sha256.hexdigest()}".encode()
        self.file.write(struct.pack("<H", len(comment)) + comment)


def checksum(path: Path) -> str | None:
    """The checksum that `path` carries; None if it has none, as when another tool wrote it."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - COMMENT_SIZE - 22))
        tail = file.read()
    if not tail.startswith(END):
        return None
    found = COMMENT.fullmatch(tail[22:])
    return found[1].decode() if found else "unreadable"


def verify_checksum(path: Path) -> None:
    """Compare a checkpoint with the checksum that it carries.

    Raises:
        Damaged: They differ.
    """
    expected = checksum(path)
    if expected is None:
        return
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        left = path.stat().st_size - COMMENT_SIZE - 2
        while left and (chunk := file.read(min(left, 1 << 20))):
            sha256.update(chunk)
            left -= len(chunk)
    sha256.update(bytes(2))
    if sha256.hexdigest() != expected:
        raise CorruptedCheckpointError(
            f"{path} is damaged: its checksum is not that of its content"
        )


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
    with atomic_write(path, keep=previous(path)) as file:
        hashed = HashingWriter(file)
        torch.save({"format": FORMAT, **content}, hashed)  # type: ignore[arg-type]
        hashed.seal()


def load(path: Path, device: Any = "cpu", *, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint's plain containers and tensors onto `device`; nothing in it is executed.

    With `mmap` a tensor is read from disk when it is used.

    Raises:
        Damaged: The file is cut short or corrupted.
        ValueError: It holds anything but plain data, or is of a newer format.
    """
    verify_checksum(path)
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
        raise CorruptedCheckpointError(f"{path} is damaged or no checkpoint: {why}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no checkpoint of ours: it holds a {type(content).__name__}")
    if content.get("format", FORMAT) != FORMAT:
        raise ValueError(
            f"{path} is a checkpoint of format {content['format']}, this version reads"
            f" format {FORMAT}: use the version that wrote it, or a newer one"
        )
    return content


def iter_valid_checkpoints(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The newest checkpoint at `path`, then the one before it, without those that are damaged.

    Each is memory-mapped. What is damaged is said.
    """
    for one in (path, previous(path)):
        try:
            yield one, load(one, mmap=True)
        except FileNotFoundError:
            continue
        except CorruptedCheckpointError as error:
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
