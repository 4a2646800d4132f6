"""Checkpoints on disk: written beside, synced, renamed; read without running any code in them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from src.run_folder import sync_folder


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write `content` so that `path` is, at any moment, the old checkpoint whole or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def load(path: Path, device: Any = "cpu", *, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint's plain containers and tensors onto `device`; nothing in it is executed.

    With `mmap` a tensor is read from disk when it is used.

    Raises:
        ValueError: The file is cut short, corrupted, or holds anything but plain data.
    """
    try:
        content: dict[str, Any] = torch.load(
            path, map_location=device, weights_only=True, mmap=mmap
        )
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is no checkpoint of ours, or is damaged: {error}") from error
    return content


class DurableCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, through `save` and `load`."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """See `save`."""
        save(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """See `load`."""
        return load(Path(path), map_location or "cpu")
