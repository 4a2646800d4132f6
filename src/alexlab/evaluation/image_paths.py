"""Find the image files that a user names: a file, a folder, or paths on standard input."""

import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from alexlab.data.files import EXTENSIONS, is_left_behind, suffix


class NotRead:
    """Count the files of a folder that are not read, by type, and keep the first path."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.first = ""

    def add(self, path: Path) -> None:
        """Count one file."""
        self.first = self.first or str(path)
        hidden = path.name.startswith(".")
        extension = f".{suffix(path.name)}" if suffix(path.name) else "without extension"
        self.kinds["hidden" if hidden else extension] += 1

    def __str__(self) -> str:
        """Describe the files; return "" if there are none."""
        if not self.first:
            return ""
        kinds = ", ".join(f"{number} {kind}" for kind, number in self.kinds.most_common(5))
        number = self.kinds.total()
        return f"{number:,} file{'s' * (number != 1)} not read ({kinds}), first {self.first!r}"


def images_in(folder: Path, others: NotRead | None = None) -> Iterator[Path]:
    """Yield every image below `folder` that is not hidden, folder by folder, sorted by name.

    Links are followed; each folder is read once. `others` counts the files that are not read.
    """
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        identity = os.stat(place)
        if (identity.st_dev, identity.st_ino) in seen:
            folders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not is_left_behind(f))
        for path in (Path(place, name) for name in sorted(files)):
            is_image = suffix(path.name) in EXTENSIONS and not path.name.startswith(".")
            if is_image and not _is_special(path):
                yield path
            elif others is not None and not path.name.startswith(("._", ".DS_Store")):
                others.add(path)


def _is_special(path: Path) -> bool:
    """Return whether `path` is a pipe or a device, which could block; False for a broken link."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def find_images(source: str) -> tuple[Iterable[Path], int | None, str]:
    """List the images of a file, a folder, or `-` for paths on standard input.

    Returns:
        The paths, their number (None for standard input), and a note about the files not read.

    Raises:
        FileNotFoundError: `source` does not exist, or is a folder without images.
    """
    if source == "-":
        return (Path(line) for line in map(str.strip, sys.stdin) if line), None, ""
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not path.is_dir():
        return [path], 1, ""
    others = NotRead()
    count = sum(1 for _ in images_in(path, others))
    if not count:
        raise FileNotFoundError(f"{path}: no image in it" + f"; {others}" * bool(str(others)))
    return images_in(path), count, str(others)
