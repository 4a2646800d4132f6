"""Write checkpoints atomically with a checksum; read them without executing code in them.

The previous version of a checkpoint is kept, as `last.previous.ckpt`, and is used if the newest one
is damaged.
"""

import hashlib
import logging
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

from hydra_plugins.hydra_study_sweeper.run_folder import atomic_write, previous

log = logging.getLogger(__name__)

COMMENT = re.compile(rb"sha256:([0-9a-f]{64})")
COMMENT_SIZE, END = 71, b"PK\x05\x06"  # END starts the last 22 bytes before the zip's comment


class CorruptedCheckpointError(ValueError):
    """Report a checkpoint that is truncated or corrupted."""


class HashingWriter:
    """Hash the bytes that torch writes to a binary file.

    torch's C++ writer crashes on an exception: `write` stores an error, and `finalize` raises it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha256 = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Hash the bytes and write them, unless an earlier write failed."""
        if self.error is None:
            self.sha256.update(data)
            try:
                self.file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Do nothing: `atomic_write` flushes the file."""

    def finalize(self) -> None:
        """Append the checksum as the zip's comment; it is computed with a comment length of 0.

        Raises:
            OSError: If a write failed.
        """
        if self.error is not None:
            raise self.error
        self.file.seek(-2, 2)
        comment = f"sha256:{self.sha256.hexdigest()}".encode()
        self.file.write(struct.pack("<H", len(comment)) + comment)


def checksum(path: Path) -> str | None:
    """Return the checksum stored in `path`; None for a file that another program wrote."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - COMMENT_SIZE - 22))
        tail = file.read()
    if not tail.startswith(END):
        return None
    found = COMMENT.fullmatch(tail[22:])
    return found[1].decode() if found else "unreadable"


def verify_checksum(path: Path) -> None:
    """Compare a checkpoint with the checksum stored in it.

    Raises:
        CorruptedCheckpointError: If they differ.
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
            f"{path} is damaged: its content does not match its checksum"
        )


FORMAT = 1


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write `content` to `path`; keep the older checkpoint as `previous(path)`.

    Raises:
        OSError: If the file cannot be written; the older checkpoint does not change.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, keep=previous(path)) as file:
        hashed = HashingWriter(file)
        torch.save({"format": FORMAT, **content}, hashed)  # type: ignore[arg-type]
        hashed.finalize()


def load(path: Path, device: Any = "cpu", *, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint's plain containers and tensors to `device`; nothing in it is executed.

    With `mmap`, tensors are read from disk when they are used.

    Raises:
        CorruptedCheckpointError: If the file is truncated or corrupted.
        ValueError: If it contains anything but plain data, or has another format version.
    """
    verify_checksum(path)
    try:
        mmap = mmap and zipfile.is_zipfile(path)  # torch cannot map files of its older format
        content = torch.load(path, map_location=device, weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        named = f" ({found[1]})" if found else ""
        raise ValueError(
            f"{path}: not a checkpoint of alexlab: it contains more than tensors and plain data"
            f"{named}; it was not unpickled, since that can execute any code"
        ) from None
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CorruptedCheckpointError(f"{path} is damaged or not a checkpoint: {reason}") from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: not a checkpoint of alexlab: it contains a {type(content).__name__}"
        )
    if content.get("format", FORMAT) != FORMAT:
        raise ValueError(
            f"{path} is a checkpoint of format {content['format']}, this version reads"
            f" format {FORMAT}: use the version that wrote it, or a newer one"
        )
    return content


def iter_valid_checkpoints(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield path and mapped content of a checkpoint and of the previous one; skip damaged ones."""
    for candidate in (path, previous(path)):
        try:
            yield candidate, load(candidate, mmap=True)
        except FileNotFoundError:
            continue
        except CorruptedCheckpointError as error:
            rank_zero_only(log.warning)(error)


def check_fits(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> None:
    """Compare the weights of a checkpoint with those of the net that will load them.

    Raises:
        ValueError: If names or shapes differ; the message has the first difference.
    """
    shapes = {
        name: [
            str(list(weights[name].shape)) if name in weights else "missing"
            for weights in (state, own)
        ]
        for name in {**own, **state}
    }
    differ = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
    if differ:
        name, (saved, expected) = next(iter(differ.items()))
        more = f", and {len(differ) - 1} more differ" if len(differ) > 1 else ""
        raise ValueError(
            f"{path} is of another network: {name} is {saved} in it and {expected} in this"
            f" network{more}"
        )


class DurableCheckpointIO(TorchCheckpointIO):
    """Make Lightning use `save` and `load` for its checkpoints."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, *_: Any, **__: Any) -> None:
        """Write a checkpoint with `save`."""
        save(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, *_: Any, **__: Any) -> Any:
        """Read a checkpoint with `load`."""
        return load(Path(path), map_location or "cpu")
