"""Finds the images of a folder and says what each one is, without reading any of them.

`root/<class>/*` gives classes; `root/{train,test}/<class>/*` gives classes and a test set that is
official. Folders inside a class folder belong to it, as torchvision's ImageFolder has it. Hidden
files and folders are passed over; files that are not images are counted and named.
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
    """The images of a data set, sorted by path; the lists run in parallel.

    Attributes:
        root: The folder that `paths` start from.
        paths: Relative, with forward slashes on every system.
        stats: Size in bytes, time of the last change in ns: [2, M] int64.
        targets: Index into `classes`, or the score when there are no classes.
        classes: Their names; empty for scores.
        official: "train" or "test" where the data set says so, else "".
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
    parts = ["train", "test"] if {"train", "test"} <= set(folders) else [""]
    splits = sorted({"train", "test", "val", "valid", "validation"} & set(folders))
    if splits and parts == [""]:
        raise ValueError(
            f"{root} has the folder {splits[0]!r}: give it train/<class>/ and test/<class>/, or"
            " class folders only"
        )
    classes = sorted({name for part in parts for name in _folders(root / part)})
    if not classes:
        raise ValueError(f"no class folders in {root}; images are expected in {root}/<class>/")
    images: list[tuple[str, int, int, int, str]] = []
    ignored: list[str] = []
    for part, (target, name) in product(parts, enumerate(classes)):
        folder, before = f"{part}/{name}".removeprefix("/"), len(images)
        for path, stat in _walk(root, folder):
            if stat and path.rpartition(".")[2].lower() in EXTENSIONS:
                images.append((path, stat.st_size, stat.st_mtime_ns, target, part))
            else:
                ignored.append(path)
        if len(images) == before:
            raise ValueError(
                f"class {name!r} has no image in {root / folder}; add some or remove the folder"
            )
    paths, sizes, times, targets, official = map(list, zip(*sorted(images), strict=True))
    return ImageFiles(root, paths, np.array([sizes, times]), targets, classes, official, ignored)


def create_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, which `make` fills under another name if it is not there: whole or not at all."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():  # else another process was faster
                temporary = folder.with_name(folder.name + ".tmp")
                shutil.rmtree(temporary, ignore_errors=True)
                make(temporary)
                temporary.rename(folder)
    return folder


def select_classes(known: list[str], wanted: list[str] | None) -> list[int]:
    """Indices of the wanted classes (None for all) in the data set's own order.

    Raises:
        ValueError: An unknown name, or one class only.
    """
    table = {name: i for i, name in enumerate(known)}
    chosen = sorted({lookup("data.classes", name, table) for name in wanted or known})
    if len(chosen) == 1:
        raise ValueError(f"there is one class only, {known[chosen[0]]!r}; two are needed")
    return chosen


def _folders(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _walk(root: Path, folder: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """Each visible entry below root/folder: its path relative to root, and the stat of a file.

    What is no file (a pipe, which would be waited for, or a link to nothing) has None. A folder to
    which links lead more than once, as in a loop, is entered once.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [folder] if (root / folder).is_dir() else []
    while waiting:
        current = waiting.pop()
        place = os.stat(f"{root}/{current}")
        if (place.st_dev, place.st_ino) in seen:
            continue
        seen.add((place.st_dev, place.st_ino))
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
