"""Find the images of a folder and their classes, without reading any of them.

`root/<class>/*` gives classes. `root/<split>/<class>/*` and `root/<class>/<split>/*` give classes
and official splits. A split folder is named train, val or test in any usual spelling, such as
Training, valid or test_set. Folders inside a class folder belong to that class, as in torchvision's
ImageFolder. Folders that operating systems and programs create, such as __MACOSX, are skipped
without a note. Notes count all other unused files, and name the first of them.
"""

import os
import re
import shutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from alexlab.errors import lookup

EXTENSIONS = {
    *("jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "webp", "avif"),
    *("tif", "tiff", "ppm", "pgm"),
}
UNREADABLE = {  # extensions of image and video formats that are not supported
    *("heic", "heif", "jxl", "jp2", "j2k", "jpx", "psd", "tga", "exr", "hdr", "ico", "pcx", "svg"),
    *("dng", "cr2", "cr3", "nef", "arw", "orf", "raf", "rw2", "dcm", "dicom", "nii", "fits", "npy"),
    *("mp4", "mov", "avi"),
}
SKIPPED = {  # folders that operating systems and programs create, in lower case
    *("__macosx", "@eadir", "#recycle", "#snapshot", "lost+found", "$recycle.bin", "__pycache__"),
    *("system volume information", ".git", ".svn", ".hg", ".dvc", ".ipynb_checkpoints", ".cache"),
    *(".thumbnails", ".appledouble", ".spotlight-v100", ".fseventsd", ".trashes", ".venv"),
}
WORDS = {"train": ("train", "training"), "test": ("test", "testing")} | {
    "val": ("val", "valid", "validate", "validation", "dev", "development")
}
SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
NOISE = "images?|imgs?|pictures?|photos?|data|dataset|sets?|split|samples?|files?|folder|dir"
SPLIT_NAME = re.compile(rf"(?:{NOISE})*({'|'.join(SPLIT_OF)})(?:{NOISE})*(?:\d{{4}})?")
# folders of data sets for detection or segmentation, in lower case
PICTURES = {"images", "image", "imgs", "img", "jpegimages", "pictures", "photos"}
LABELS = {"labels", "label", "annotations", "annotation", "masks", "mask", "xmls", "segmentation"}
SHOWN = 3  # number of names in a note


@dataclass(frozen=True)
class ImageFiles:
    """List the M images of a data set, sorted by path.

    Attributes:
        root: Folder of the data set.
        paths: Path of each image relative to `root`, with forward slashes on every system.
        stats: [2, M] int64: size in bytes and modification time (mtime) in ns.
        targets: Index into `classes` of each image, or its score if there are no classes.
        classes: Names of the classes; empty for scores.
        official: Official split of each image: "train", "val", "test", or "" if there is none.
        ignored: Files in the class folders that are not images.
        identity: [2, M] int64: inode and status change time (ctime) in ns. They differ between
            machines and after a copy.
        notes: Sentences about unused images and probable mistakes.
        hint: End of the error for a single class: how to get more classes, if the folders show it.
        unusable: {class: problem} for each class that cannot be used for training, for example
            because a split has no image of it.
    """

    root: Path
    paths: list[str]
    stats: NDArray[np.int64]
    targets: list[int] | list[float]
    classes: list[str]
    official: list[str]
    ignored: list[str]
    identity: NDArray[np.int64]
    notes: list[str] = field(default_factory=list)
    hint: str = ""
    unusable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Describe a folder with the images of one class; `split` is "" if it is not known."""

    folder: str
    name: str
    split: str = ""


def find_class_images(root: Path) -> ImageFiles:
    """List the images in class folders; 60,000 files take half a second.

    Raises:
        ValueError: If no class folder has an image, or a split folder is missing or ambiguous.
    """
    parts = _layout(root)
    unusable: dict[str, str] = {}
    images: list[tuple[str, os.stat_result, Part]] = []
    ignored: list[str] = []
    passed_over: list[str] = []
    empty: list[str] = []
    for part in parts:
        images_before, ignored_before = len(images), len(ignored)
        for path, stat in walk(root, part.folder):
            if "/." in path.removeprefix(part.folder):
                passed_over += [path] * _is_image(path, stat)
            elif stat is not None and _is_image(path, stat):
                images.append((path, stat, part))
            else:
                ignored.append(path)
        if len(images) == images_before:
            if problem := _unreadable(root, part, ignored[ignored_before:]):
                unusable[part.name] = problem
            empty.append(part.folder)
    if not images:
        problem = f"no image in {root}; images are expected in {root}/<class>/"
        raise ValueError(next(iter(unusable.values()), problem))
    classes = sorted({*(part.name for _, _, part in images), *unusable})
    seen = {(part.name, part.split) for _, _, part in images}
    unusable = {**_missing_in_splits(root, parts, seen), **unusable}
    rest = walk(root, "", without={part.folder for part in parts})
    passed_over += [path for path, stat in rest if _is_image(path, stat)]
    images.sort(key=lambda image: image[0])
    stats = [stat for _, stat, _ in images]
    notes = _notes(root, parts, classes)
    if passed_over:
        where = "hidden, or not in a class folder"
        first = few(sorted(passed_over))
        notes.append(f"{count(passed_over, 'image')} skipped ({where}): {first}")
    if empty:
        notes.append(f"{count(empty, 'folder')} without an image skipped: {few(empty)}")
    return ImageFiles(
        root,
        [path for path, _, _ in images],
        sizes_and_times(stats),
        [classes.index(part.name) for _, _, part in images],
        classes,
        [part.split for _, _, part in images],
        sorted(ignored),
        inodes_and_changes(stats),
        notes,
        _hint(root, [part for part in parts if part.name in classes]),
        unusable,
    )


def sizes_and_times(stats: Iterable[os.stat_result]) -> NDArray[np.int64]:
    """Return sizes in bytes and modification times (mtime) in ns, [2, M] int64."""
    return np.array([(s.st_size, s.st_mtime_ns) for s in stats], np.int64).reshape(-1, 2).T


def inodes_and_changes(stats: Iterable[os.stat_result]) -> NDArray[np.int64]:
    """Return inodes and status change times (ctime) in ns, [2, M] int64."""
    pairs = [(s.st_ino & (2**63 - 1), s.st_ctime_ns) for s in stats]
    return np.array(pairs, np.int64).reshape(-1, 2).T


def suffix(path: str) -> str:
    """Return the extension of a file name in lower case without its dot, or ""."""
    return os.path.splitext(path)[1][1:].lower()


def tally(paths: Iterable[str]) -> str:
    """Count the files of the five most common extensions, such as "12 .heic, 3 .txt"."""
    counts = Counter(f".{suffix(path)}" if suffix(path) else "without extension" for path in paths)
    return ", ".join(f"{n} {kind}" for kind, n in counts.most_common(5))


def few(names: Sequence[str]) -> str:
    """Return the first `SHOWN` names, quoted, for a note."""
    return ", ".join(map(repr, names[:SHOWN])) + ", ..." * (len(names) > SHOWN)


def count(things: Sized, name: str) -> str:
    """Return the number of things with their name, such as "1 image" or "2 images"."""
    return f"{len(things):,} {name}{'s' * (len(things) != 1)}"


def split_name(folder: str) -> str:
    """Return the split of a folder name, as "train" for "Training"; "" for other names."""
    found = SPLIT_NAME.fullmatch(re.sub(r"[\W_]+", "", folder.casefold()))
    return SPLIT_OF[found[1]] if found else ""


def _splits(folders: Sequence[str]) -> dict[str, str]:
    """Return {folder: split}; split folders may share other words, as in seg_train, seg_test."""
    if found := {name: split for name in folders if (split := split_name(name))}:
        return found
    by_rest: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for name in folders:
        words = re.split(r"[\W_]+", name.casefold())
        for word, rest in ((words[0], words[1:]), (words[-1], words[:-1])):
            if word in SPLIT_OF:
                by_rest[tuple(rest)][name] = SPLIT_OF[word]
    several = (s for s in by_rest.values() if "train" in s.values() and len(set(s.values())) > 1)
    return next(several, {})


def _layout(root: Path) -> list[Part]:
    """Find the class folders, and their official splits if there are any."""
    folders = list_folders(root)
    if not folders:
        raise ValueError(_too_shallow(root))
    splits = _splits(folders)
    deep = [name for name in splits if list_folders(root / name)]
    if not splits or (len(splits) == 1 < len(folders) and not deep):  # a class may be named "train"
        return _splits_below_classes(root, folders) or [Part(name, name) for name in folders]
    folder_of: dict[str, str] = {}
    for name, split in splits.items():
        if split in folder_of:
            raise ValueError(
                f"{root}: the folders {folder_of[split]!r} and {name!r} both mean {split}; merge"
                " them, or move one elsewhere"
            )
        folder_of[split] = name
    if folder_of.get("train") not in deep:
        problem = "has no class folder" if "train" in folder_of else "is missing"
        raise ValueError(
            f"{root} has the folder {next(iter(splits))!r}, but train/<class>/ {problem}: give it"
            " train/<class>/ and test/<class>/, or class folders only"
        )
    parts = []
    for name, split in splits.items():
        folder, classes = name, list_folders(root / name)
        while len(classes) == 1 and split_name(classes[0]) == split:  # train/train/<class>
            folder, classes = f"{folder}/{classes[0]}", list_folders(root / folder / classes[0])
        parts += [Part(f"{folder}/{label}", label, split) for label in classes]
    return parts


def _splits_below_classes(root: Path, classes: Sequence[str]) -> list[Part]:
    """Return the parts of <class>/<split>/; an empty list unless all classes have this layout."""
    parts = []
    for name in classes:
        splits = _splits(list_folders(root / name))
        if "train" not in splits.values() or len(set(splits.values())) < 2:
            return []
        parts += [Part(f"{name}/{folder}", name, split) for folder, split in splits.items()]
    return parts


def _missing_in_splits(
    root: Path, parts: Sequence[Part], seen: set[tuple[str, str]]
) -> dict[str, str]:
    """Return {class: problem} for each class that some official splits have and others lack."""
    problems: dict[str, str] = {}
    splits = {split for _, split in seen}
    for name, split in sorted({(name, split) for name, _ in seen for split in splits} - seen):
        some = next(part for part in parts if part.split == split)
        above, _, last = some.folder.rpartition("/")
        place = root / (f"{above}/{name}" if last == some.name else f"{name}/{last}")
        there = [other for other, own in seen if own == split and other != name]
        alike = [other for other in there if spelling(other) == spelling(name)]
        advice = f"there is {alike[0]!r}: rename one" if alike else "add some or remove the folder"
        if alike and unicodedata.normalize("NFC", alike[0]) == unicodedata.normalize("NFC", name):
            codes = f"{alike[0]!a} there, {name!a} elsewhere"
            advice = (
                f"the two names look the same but have different characters ({codes}): rename one"
            )
        problems.setdefault(name, f"class {name!r} has no image in {place}; {advice}")
    return problems


def _unreadable(root: Path, part: Part, files: Sequence[str]) -> str:
    """Return the problem of a folder that has images only in formats that are not supported."""
    unreadable = [path for path in files if suffix(path) in UNREADABLE]
    if not unreadable:
        return ""
    return (
        f"class {part.name!r} has no image that can be read in {root / part.folder}, but"
        f" {tally(unreadable)}; convert them to JPEG or PNG, or remove the folder"
    )


def _too_shallow(root: Path) -> str:
    text = f"no class folders in {root}; images are expected in {root}/<class>/"
    with os.scandir(root) as entries:
        direct = [e.name for e in entries if e.is_file() and suffix(e.name) in EXTENSIONS]
    if direct:
        text += f", not in {root} itself ({count(direct, 'image')} there)"
        if len(_folders_beside(root)) > 1:
            name, above = root.resolve().name, root.resolve().parent
            text += f"; if {name!r} is one class of several, use data.root={above}"
    return text


def _notes(root: Path, parts: Sequence[Part], classes: Sequence[str]) -> list[str]:
    """Describe missing splits and probable mistakes in the folder layout."""
    notes = []
    splits = {part.split for part in parts}
    if splits == {"train"}:
        notes.append("there is only train/: val and test are taken from its images")
    elif splits == {"train", "val"}:
        notes.append("there is no test/: test is taken from train; val is used as it is")
    words = {name.lower() for name in classes}
    if words <= PICTURES | LABELS and words & PICTURES and words & LABELS:
        notes.append(
            f"the folders {few(classes)} are used as classes; if they hold images and their"
            " annotations, make a folder per class instead"
        )
    alike = defaultdict(list)
    for name in classes:
        alike[spelling(name)].append(name)
    for names in alike.values():
        if len(names) > 1:
            notes.append(f"classes with nearly equal names: {few(names)}; are they one class?")
    beside = _splits(_folders_beside(root))
    if splits == {""} and root.resolve().name in beside and len(set(beside.values())) > 1:
        notes.append(
            f"{root} is one split of several; with data.root={root.resolve().parent} the others"
            " are used too"
        )
    inside = {tuple(list_folders(root / part.folder)) for part in parts}
    same = next(iter(inside)) if len(inside) == 1 else ()
    if splits == {""} and len(parts) > 1 and len(same) > 1:
        notes.append(
            f"every class folder has the same folders: {few(same)}; if these are the classes, the"
            " folders are one level too deep"
        )
    return notes


def _folders_beside(root: Path) -> list[str]:
    return _folders(root.resolve().parent)


def _folders(root: Path) -> list[str]:
    try:
        return list_folders(root)
    except OSError:  # no permission to list the folder
        return []


def _hint(root: Path, parts: Sequence[Part]) -> str:
    """Return the end of the error for a single class, if the folders show the likely mistake."""
    below = list_folders(root / parts[0].folder) if len({part.name for part in parts}) == 1 else []
    places = root, (root / parts[0].folder).parent
    beside = {one for place in places for one in _folders(place)}
    labels = sorted(one for one in beside if one.lower() in LABELS)
    if parts[0].name.lower() in PICTURES and (labels or len(below) < 2):
        where = f" (the labels seem to be in {labels[0]!r})" if labels else ""
        return (
            f": {parts[0].name!r} seems to hold the images of all classes{where}; make a folder per"
            " class, <class>/*.jpg"
        )
    if len(below) < 2:
        return ""
    if parts[0].split:  # train/images/<class>
        return (
            f"; its folders {few(below)} look like classes: move them up, out of {parts[0].name!r}"
        )
    return f"; its folders {few(below)} look like classes: use data.root={root / parts[0].folder}"


def spelling(name: str) -> str:
    """Return a key that is equal for names that differ only in case, spaces or Unicode form."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", folded).strip().strip("_")


def _is_image(path: str, stat: os.stat_result | None) -> bool:
    # macOS stores metadata of the file `name` in `._name`
    return stat is not None and suffix(path) in EXTENSIONS and "/._" not in f"/{path}"


def create_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`; if it is missing, let `make` fill a temporary folder, then rename that."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():  # another process may have made it in the meantime
                temporary = folder.with_name(folder.name + ".tmp")
                shutil.rmtree(temporary, ignore_errors=True)
                make(temporary)
                temporary.rename(folder)
    return folder


def select_classes(known: list[str], wanted: list[str] | None, hint: str = "") -> list[int]:
    """Return the indices of the wanted classes (None for all), sorted.

    Raises:
        ValueError: If a name is unknown, or if there is only one class (that message ends with
            `hint`).
    """
    table = {name: i for i, name in enumerate(known)}
    chosen = sorted({lookup("data.classes", name, table) for name in wanted or known})
    if len(chosen) == 1:
        name = known[chosen[0]]
        raise ValueError(f"there is only one class, {name!r}; at least 2 are needed{hint}")
    return chosen


def check_usable(files: ImageFiles, chosen: Sequence[int]) -> None:
    """Check that the classes with these indices can be used for training.

    Raises:
        ValueError: If one of them is in `files.unusable`; the message tells how to exclude it.
    """
    for name in (files.classes[i] for i in chosen):
        if name in files.unusable:
            others = [one for one in files.classes if one not in files.unusable]
            names = ",".join(others) if len(others) <= 2 * SHOWN else "NAMES"
            raise ValueError(f"{files.unusable[name]}, or leave it out: data.classes=[{names}]")


def list_folders(root: Path) -> list[str]:
    """List the folders that can be classes; of hidden folders only numbers, such as .22."""
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if _is_folder(entry))
    hidden = re.compile(r"\.(?!\d)")
    return [name for name in names if not hidden.match(name) and not is_left_behind(name)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False


def is_left_behind(folder: str) -> bool:
    """Return whether operating systems or programs create folders of this name."""
    return folder.lower() in SKIPPED or folder.lower().startswith(".trash-")


def walk(
    root: Path, folder: str, without: Collection[str] = ()
) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yield the path relative to `root` and the stat of each entry below root/folder.

    Hidden files are included. The stat is None for an entry that is not a regular file: reading a
    pipe would block, and a broken link has no target. A folder that several links lead to (a loop
    of links, for example) is entered once. Folders in `without` and `SKIPPED` are not entered.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [folder] if (root / folder).is_dir() else []
    while waiting:
        current = waiting.pop()
        identity = os.stat(root / current)
        if (identity.st_dev, identity.st_ino) in seen:
            continue
        seen.add((identity.st_dev, identity.st_ino))
        with os.scandir(root / current) as entries:
            for entry in entries:
                path = f"{current}/{entry.name}".removeprefix("/")
                try:
                    is_folder, stat = entry.is_dir(), entry.stat() if entry.is_file() else None
                except OSError:  # a symbolic link to itself
                    is_folder, stat = False, None
                if not is_folder:
                    yield path, stat
                elif path not in without and not is_left_behind(entry.name):
                    waiting.append(path)
