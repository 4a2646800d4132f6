"""Find the image files that a user names: a file, a folder, or paths on standard input."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from alexlab.data.files import EXTENSIONS


def images_in(folder: Path) -> Iterator[Path]:
    """Yield every visible image below `folder`, in the order of names, one folder at a time."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in sorted(files) if not name.startswith(".")):
            if path.name.rpartition(".")[2].lower() in EXTENSIONS and not _is_special(path):
                yield path


def _is_special(path: Path) -> bool:
    """Return whether it is a pipe or a device, which would hang; a broken link is read later."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def find_images(source: str) -> tuple[Iterable[Path], int | None]:
    """List the images of a file, a folder, or `-` for paths on standard input.

    Returns:
        The paths, and how many there are; None for standard input.

    Raises:
        FileNotFoundError: No such file or folder, or a folder without images.
    """
    if source == "-":
        return (Path(line) for line in map(str.strip, sys.stdin) if line), None
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not path.is_dir():
        return [path], 1
    count = sum(1 for _ in images_in(path))
    if not count:
        raise FileNotFoundError(f"{path}: no image in it")
    return images_in(path), count
