"""Find the images of a folder and their classes, without reading any of them.

`root/<class>/*` gives classes; `root/{train,test}/<class>/*` gives classes and an official test
set. Folders inside a class folder belong to it, as in torchvision's ImageFolder. Hidden files and
folders are ignored; files that are not images are counted and named.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from alexlab.errors import lookup

EXTENSIONS = {"jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm"}


@dataclass(frozen=True)
class ImageFiles:
    """The images of a data set, sorted by path; element i of each list is about image i.

    Attributes:
        root: The folder that `paths` are relative to.
        paths: With forward slashes on every system.
        stats: Size in bytes, time of the last change in ns: [2, M] int64.
        targets: Index into `classes`, or the score when there are no classes.
        classes: Their names; empty for scores.
        official: "train" or "test" where the data set is split already, else "".
        ignored: Files below `root` that are not images.
    """

    root: Path
    paths: list[str]
    stats: NDArray[np.int64]
    targets: list[int] | list[float]
    classes: list[str]
    official: list[str]
    ignored: list[str]


def find_class_images(root: Path) -> ImageFiles:
    """List `root/<class>/*` or `root/{train,test}/<class>/*`; 60,000 files take half a second.

    Raises:
        ValueError: No class folder, a class without an image, or split folders of other names.
    """
    folders = _folders(root)
    splits = ["train", "test"] if {"train", "test"} <= set(folders) else [""]
    named = sorted({"train", "test", "val", "valid", "validation"} & set(folders))
    if named and splits == [""]:
        raise ValueError(
            f"{root} has the folder {named[0]!r}: give it train/<class>/ and test/<class>/, or"
            " class folders only"
        )
    classes = sorted({name for split in splits for name in _folders(root / split)})
    if not classes:
        raise ValueError(f"no class folders in {root}; images are expected in {root}/<class>/")
    images: list[tuple[str, int, int, int, str]] = []
    ignored: list[str] = []
    for split, (target, name) in product(splits, enumerate(classes)):
        folder, before = f"{split}/{name}".removeprefix("/"), len(images)
        for path, stat in _walk(root, folder):
            if stat and path.rpartition(".")[2].lower() in EXTENSIONS:
                images.append((path, stat.st_size, stat.st_mtime_ns, target, split))
            else:
                ignored.append(path)
        if len(images) == before:
            raise ValueError(
                f"class {name!r} has no image in {root / folder}; add some or remove the folder"
            )
    paths, sizes, times, targets, official = map(list, zip(*sorted(images), strict=True))
    return ImageFiles(root, paths, np.array([sizes, times]), targets, classes, official, ignored)


def create_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`; if it is missing, `make` fills a temporary one, which is then renamed."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():  # else another process has made it in the meantime
                temporary = folder.with_name(folder.name + ".tmp")
                shutil.rmtree(temporary, ignore_errors=True)
                make(temporary)
                temporary.rename(folder)
    return folder


def select_classes(known: list[str], wanted: list[str] | None) -> list[int]:
    """Return the indices of the wanted classes (None for all) in the data set's own order.

    Raises:
        ValueError: An unknown name, or one class only.
    """
    table = {name: i for i, name in enumerate(known)}
    chosen = sorted({lookup("data.classes", name, table) for name in wanted or known})
    if len(chosen) == 1:
        raise ValueError(f"there is only one class, {known[chosen[0]]!r}; at least 2 are needed")
    return chosen


def _folders(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _walk(root: Path, folder: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yield each visible entry below root/folder: its path relative to root, and a file's stat.

    An entry that is no file has None: reading a pipe would block, and a broken link has no target.
    A folder to which links lead more than once, as in a loop, is entered once.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [folder] if (root / folder).is_dir() else []
    while waiting:
        current = waiting.pop()
        identity = os.stat(f"{root}/{current}")
        if (identity.st_dev, identity.st_ino) in seen:
            continue
        seen.add((identity.st_dev, identity.st_ino))
        with os.scandir(f"{root}/{current}") as entries:
            for entry in entries:
                path = f"{current}/{entry.name}"
                if entry.name.startswith("."):
                    continue
                try:
                    is_folder, stat = entry.is_dir(), entry.stat() if entry.is_file() else None
                except OSError:  # a link to itself
                    is_folder, stat = False, None
                if is_folder:
                    waiting.append(path)
                else:
                    yield path, stat
