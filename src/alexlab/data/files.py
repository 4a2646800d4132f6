"""Find the images of a folder and their classes, without reading any of them.

`root/<class>/*` gives classes. `root/<split>/<class>/*` and `root/<class>/<split>/*` give classes
and official splits; the names of splits are train, val and test in any usual spelling, such as
Training, valid or test_set. Folders inside a class folder belong to it, as in torchvision's
ImageFolder. Folders that systems and programs leave behind, such as __MACOSX, are skipped. All
other images and files that are not used are counted and named.
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
UNREADABLE = {  # of images that are not read
    *("heic", "heif", "jxl", "jp2", "j2k", "jpx", "psd", "tga", "exr", "hdr", "ico", "pcx", "svg"),
    *("dng", "cr2", "cr3", "nef", "arw", "orf", "raf", "rw2", "dcm", "dicom", "nii", "fits", "npy"),
    *("mp4", "mov", "avi"),
}
SKIPPED = {  # folders that systems and programs leave behind, in lower case
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
SHOWN = 3  # names in a note


@dataclass(frozen=True)
class ImageFiles:
    """The images of a data set, sorted by path; element i of each list is about image i.

    Attributes:
        root: The folder that `paths` are relative to.
        paths: With forward slashes on every system.
        stats: Size in bytes, time of the last change in ns: [2, M] int64.
        targets: Index into `classes`, or the score when there are no classes.
        classes: Their names; empty for scores.
        official: "train", "val" or "test" where the data set is split already, else "".
        ignored: Files below `root` that are not images.
        identity: Inode, and the time in ns of the last change of the file or of its name: [2, M]
            int64. They differ between machines and after a copy.
        notes: Sentences about what is not used, or looks like a mistake.
        hint: How to get more than one class, if that is clear from the folders.
        unusable: {class: why it cannot be trained on}: a split has no image of it, say.
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
    """A folder with images of one class, and of one split if that is known."""

    folder: str
    name: str
    split: str = ""


def find_class_images(root: Path) -> ImageFiles:
    """List the images in class folders; 60,000 files take half a second.

    Raises:
        ValueError: No class folder with images, or split folders without train.
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
        where = "hidden, or in no class folder"
        first = few(sorted(passed_over))
        notes.append(f"{count(passed_over, 'image')} passed over ({where}): {first}")
    if empty:
        notes.append(f"{count(empty, 'folder')} without an image passed over: {few(empty)}")
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
    """Return sizes and times of the last change of the content, [2, M] int64."""
    return np.array([(s.st_size, s.st_mtime_ns) for s in stats], np.int64).reshape(-1, 2).T


def inodes_and_changes(stats: Iterable[os.stat_result]) -> NDArray[np.int64]:
    """Return inodes and times of the last change of content or name, [2, M] int64."""
    pairs = [(s.st_ino & (2**63 - 1), s.st_ctime_ns) for s in stats]
    return np.array(pairs, np.int64).reshape(-1, 2).T


def suffix(path: str) -> str:
    """Return the extension of a file name in lower case, "" without one."""
    return os.path.splitext(path)[1][1:].lower()


def tally(paths: Iterable[str]) -> str:
    """Count files by their extension, such as "12 .heic, 3 .txt"."""
    counts = Counter(f".{suffix(path)}" if suffix(path) else "without extension" for path in paths)
    return ", ".join(f"{n} {kind}" for kind, n in counts.most_common(5))


def few(names: Sequence[str]) -> str:
    """Return the first names for a note."""
    return ", ".join(map(repr, names[:SHOWN])) + ", ..." * (len(names) > SHOWN)


def count(things: Sized, name: str) -> str:
    """Return the number of things with their name, such as "1 image" or "2 images"."""
    return f"{len(things):,} {name}{'s' * (len(things) != 1)}"


def split_name(folder: str) -> str:
    """Return the split that a folder's name means, "" if none: "Training" -> "train"."""
    found = SPLIT_NAME.fullmatch(re.sub(r"[\W_]+", "", folder.casefold()))
    return SPLIT_OF[found[1]] if found else ""


def _splits(folders: Sequence[str]) -> dict[str, str]:
    """Return {folder: split} of split folders; all may share other words, as in seg_train."""
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
    """Find the class folders, and the official splits if there are any."""
    folders = list_folders(root)
    if not folders:
        raise ValueError(_too_shallow(root))
    splits = _splits(folders)
    deep = [name for name in splits if list_folders(root / name)]
    if not splits or (len(splits) == 1 < len(folders) and not deep):  # or a class called "train"
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
    """Return the parts of <class>/<split>/; nothing if not all classes are split so."""
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
    """Return {class: problem} of classes that one official split lacks and another has."""
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
                f"the name is written with other letters that look the same ({codes}): rename one"
            )
        problems.setdefault(name, f"class {name!r} has no image in {place}; {advice}")
    return problems


def _unreadable(root: Path, part: Part, files: Sequence[str]) -> str:
    """Return the problem of a folder whose only images are in formats that are not read."""
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
    """Describe what in the folders looks like a mistake, and which splits are missing."""
    notes = []
    splits = {part.split for part in parts}
    if splits == {"train"}:
        notes.append("there is only train/: val and test are cut out of it")
    elif splits == {"train", "val"}:
        notes.append("there is no test/: test is cut out of train, and val is as it is")
    words = {name.lower() for name in classes}
    if words <= PICTURES | LABELS and words & PICTURES and words & LABELS:
        notes.append(
            f"the folders {few(classes)} are taken for classes; if they have images and what is"
            " in them, make a folder per class instead"
        )
    alike = defaultdict(list)
    for name in classes:
        alike[spelling(name)].append(name)
    for names in alike.values():
        if len(names) > 1:
            notes.append(f"classes with nearly equal names, are they one? {few(names)}")
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
    except OSError:  # no permission to list it
        return []


def _hint(root: Path, parts: Sequence[Part]) -> str:
    """Return the end of the error for a single class that is none, as its folders show."""
    below = list_folders(root / parts[0].folder) if len({part.name for part in parts}) == 1 else []
    places = root, (root / parts[0].folder).parent
    beside = {one for place in places for one in _folders(place)}
    labels = sorted(one for one in beside if one.lower() in LABELS)
    if parts[0].name.lower() in PICTURES and (labels or len(below) < 2):
        where = f" (the labels seem to be in {labels[0]!r})" if labels else ""
        return (
            f": a class is a folder with its images, <class>/*.jpg, and {parts[0].name!r} seems to"
            f" have those of all classes{where}; make a folder per class"
        )
    if len(below) < 2:
        return ""
    if parts[0].split:  # train/images/<class>
        return (
            f"; its folders {few(below)} look like classes: move them up, out of {parts[0].name!r}"
        )
    return f"; its folders {few(below)} look like classes: use data.root={root / parts[0].folder}"


def spelling(name: str) -> str:
    """Return a key that names share if they differ in case, spaces or Unicode form only."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", folded).strip().strip("_")


def _is_image(path: str, stat: os.stat_result | None) -> bool:
    # ._name belongs to name, on a Mac
    return stat is not None and suffix(path) in EXTENSIONS and "/._" not in f"/{path}"


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


def select_classes(known: list[str], wanted: list[str] | None, hint: str = "") -> list[int]:
    """Return the indices of the wanted classes (None for all) in the data set's own order.

    Raises:
        ValueError: An unknown name, or one class only; the message ends in `hint`.
    """
    table = {name: i for i, name in enumerate(known)}
    chosen = sorted({lookup("data.classes", name, table) for name in wanted or known})
    if len(chosen) == 1:
        name = known[chosen[0]]
        raise ValueError(f"there is only one class, {name!r}; at least 2 are needed{hint}")
    return chosen


def check_usable(files: ImageFiles, chosen: Sequence[int]) -> None:
    """Check that the classes with these indices can be trained on.

    Raises:
        ValueError: A split has no image of one; the message says how to leave it out.
    """
    for name in (files.classes[i] for i in chosen):
        if name in files.unusable:
            others = [one for one in files.classes if one not in files.unusable]
            names = ",".join(others) if len(others) <= 2 * SHOWN else "NAMES"
            raise ValueError(f"{files.unusable[name]}, or leave it out: data.classes=[{names}]")


def list_folders(root: Path) -> list[str]:
    """List the folders that can be classes: not hidden, but .22 is a number."""
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if _is_folder(entry))
    hidden = re.compile(r"\.(?!\d)")
    return [name for name in names if not hidden.match(name) and not is_left_behind(name)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_left_behind(folder: str) -> bool:
    """Return whether systems or programs leave folders of this name behind."""
    return folder.lower() in SKIPPED or folder.lower().startswith(".trash-")


def walk(
    root: Path, folder: str, without: Collection[str] = ()
) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yield each entry below root/folder, hidden ones too: its path from root, and a file's stat.

    An entry that is no file has None: reading a pipe would block, and a broken link has no target.
    A folder to which links lead more than once, as in a loop, is entered once. Folders of the
    paths `without`, and those that systems and programs leave behind, are not entered.
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
                except OSError:  # a link to itself
                    is_folder, stat = False, None
                if not is_folder:
                    yield path, stat
                elif path not in without and not is_left_behind(entry.name):
                    waiting.append(path)
