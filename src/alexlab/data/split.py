"""Split the images into train, val and test: stratified, grouped, the same on every machine.

Images are assigned in the order of a hash of (split_seed, content, path). This order does not
depend on the order of the files, on the machine or on a library's random generator.
"""

import hashlib
import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexlab.data.cache import Index
from alexlab.data.decode import DEFAULT_WHITE
from alexlab.data.files import count, few, tally
from alexlab.runs.folder import write_atomically

log = logging.getLogger(__name__)

SPLITS = TRAIN, VAL, TEST = "train", "val", "test"
LEFT_OUT = "left out"


def load_or_create_split(
    folder: Path, index: Index, grouped: bool, seed: int, fractions: tuple[float, float]
) -> NDArray[np.str_]:
    """Return the split name of each file [M]; store them in `folder` as {path: split name}.

    A broken file is "left out". `fractions` are the test fraction and the val fraction.
    """
    files, (test_fraction, val_fraction) = index.files, fractions
    kind = "grouped" if grouped else "random"
    path = folder / f"split-{kind}-{seed}-{test_fraction:.6g}-{val_fraction:.6g}.json"
    if path.exists() and (stored := _read_split(path, files.paths)) is not None:
        return stored
    good = np.flatnonzero(~index.broken)
    keys = index.keys()
    split_names = np.full(len(keys), LEFT_OUT)
    split_names[good] = split(
        [keys[i] for i in good],
        np.array(files.targets if files.classes else [0] * len(keys))[good],
        index.duplicates[good] if grouped else good,
        [files.official[i] for i in good],
        seed=seed,
        test_fraction=test_fraction,
        val_fraction=val_fraction,
    )
    write_atomically(
        path, json.dumps(dict(zip(files.paths, split_names.tolist(), strict=True)), indent=0)
    )
    return split_names


def _read_split(path: Path, paths: Sequence[str]) -> NDArray[np.str_] | None:
    """Read a stored split; return None if it is damaged (a new one has the same content)."""
    try:
        stored = json.loads(path.read_text("utf-8"))
        names = [stored[name] for name in paths]
        if len(stored) != len(paths) or not {*names} <= {*SPLITS, LEFT_OUT}:
            raise ValueError("other files or splits")
    except (ValueError, LookupError, TypeError) as error:
        log.warning(f"cache: {path} is damaged ({error}): rebuilding it")
        return None
    return np.array(names)


def split(
    keys: Sequence[str],
    targets: NDArray[np.int64],
    groups: NDArray[np.int64],
    official: Sequence[str],
    *,
    seed: int,
    test_fraction: float,
    val_fraction: float,
) -> NDArray[np.str_]:
    """Assign M images to splits; all images of a group of duplicates get the same split.

    Test and val get `round(fraction * images of the class)` of every class, at least one image; the
    size of a group may change this number. An official test or val set is used as it is, and its
    fraction has no effect. Duplicates of official test images are left out of train and val;
    duplicates of official val images are left out of train.

    Args:
        keys: Content hash and path of each image.
        targets: Class of each image [M].
        groups: Group of each image [M]; all different for a split that ignores duplicates.
        official: Official split of each image: "train", "val", "test" or "".
        seed: Seed of the split.
        test_fraction: Share of the images of each class for test.
        val_fraction: Share of the images of each class for val.

    Returns:
        [M]: "train", "val", "test", or "left out" for a duplicate of an official test or
        val image.
    """
    split_names = np.full(len(keys), TRAIN, dtype="<U8")
    fractions = {TEST: test_fraction, VAL: val_fraction}
    for name in (VAL, TEST):
        given = np.asarray(official) == name
        split_names[np.isin(groups, groups[given])] = LEFT_OUT
        split_names[given] = name
        if given.any():
            del fractions[name]
    sizes = np.bincount(targets)
    wanted = {name: np.rint(sizes * f).astype(int).clip(1) for name, f in fractions.items()}
    free = defaultdict(list)
    for i in np.flatnonzero(split_names == TRAIN).tolist():
        free[groups[i]].append(i)
    for members in sorted(free.values(), key=lambda m: _hash(seed, *sorted(keys[i] for i in m))):
        counts = np.bincount(targets[members], minlength=len(sizes))
        present = counts > 0
        for name, missing in wanted.items():
            # assign unless the size of one of its classes would be further from the wanted size
            if (2 * missing[present] >= counts[present]).all() and (missing[present] > 0).all():
                split_names[members] = name
                missing -= counts
                break
    return split_names


def take_fraction(
    indices: NDArray[np.int64],
    keys: Sequence[str],
    targets: NDArray[np.int64],
    *,
    seed: int,
    fraction: float,
) -> NDArray[np.int64]:
    """Keep `fraction` of each class, at least one image; larger fractions contain smaller ones."""
    if fraction == 1:
        return indices
    order = sorted(indices.tolist(), key=lambda i: _hash(seed, "fraction", keys[i]))
    kept: list[int] = []
    for target in np.unique(targets[indices]):
        same = [i for i in order if targets[i] == target]
        kept += same[: max(1, round(fraction * len(same)))]
    return np.array(sorted(kept), np.int64)


def _hash(*parts: object) -> bytes:
    return hashlib.sha1("\0".join(map(str, parts)).encode(errors="surrogateescape")).digest()


Indices = dict[str, NDArray[np.int64]]
Counts = dict[str, dict[str, int]]


def select(
    index: Index, split_names: NDArray[np.str_], *, classes: list[int], fraction: float, seed: int
) -> tuple[Indices, Counts, NDArray[np.int64] | NDArray[np.float32], str]:
    """Take the given classes of each split, and `fraction` of train.

    Returns:
        {split: indices among all M files}; {split: {class: number of images}}; the target of each
        file: a position in `classes` [M] int64, or a score [M] float32; and a hash of the contents,
        paths and targets of all good images of these classes (`fraction` has no effect on it).
    """
    names = [index.files.classes[i] for i in classes] or ["images"]
    used, targets = ~index.broken, np.array(index.files.targets)
    strata = np.zeros(len(targets), np.int64)
    if classes:
        used &= np.isin(targets, classes)
        targets = strata = np.searchsorted(classes, targets)
    keys = index.keys()
    indices = {name: np.flatnonzero((split_names == name) & used) for name in SPLITS}
    indices["train"] = take_fraction(indices["train"], keys, strata, seed=seed, fraction=fraction)
    counts = {
        name: dict(zip(names, np.bincount(strata[i], minlength=len(names)).tolist(), strict=True))
        for name, i in indices.items()
    }
    lines = sorted(f"{keys[i]} {targets[i]}" for i in np.flatnonzero(used))
    if index.white != DEFAULT_WHITE:  # the contents alone do not determine the pixels
        lines.append(f"white {index.white.integers} {index.white.floats:g}")
    text = "\n".join(lines).encode(errors="surrogateescape")
    fingerprint = hashlib.sha1(text, usedforsecurity=False).hexdigest()
    return indices, counts, targets if classes else targets.astype(np.float32), fingerprint


def check_counts(name: str, counts: Mapping[str, Mapping[str, int]], batch_size: int) -> None:
    """Raise ValueError if a split has no image of a class, or train is smaller than one batch."""
    for split_name, classes in counts.items():
        for class_name, images in classes.items():
            if not images:
                raise ValueError(
                    f"data={name}: no image of {class_name!r} for {split_name}; it has too few"
                    " different images"
                )
    if (num_train := sum(counts["train"].values())) < batch_size:
        raise ValueError(
            f"data.batch_size={batch_size} is more than the {num_train} images of train"
        )


def check_broken(index: Index) -> None:
    """Raise ValueError if there are broken images; it names the first, and counts all by type."""
    files, broken = index.files, np.flatnonzero(index.broken)
    if len(broken):
        path, reason = str(files.root / files.paths[broken[0]]), index.facts["error"][broken[0]]
        kinds = tally(files.paths[i] for i in broken)
        more = f" ({len(broken)} are broken: {kinds})" if len(broken) > 1 else ""
        raise ValueError(
            f"broken image {path!r}: {reason}{more}; data.on_broken=skip trains without them"
        )


ONE_COLOUR = 2.0  # an image with a lower standard deviation of its grey values has one colour


def one_colour(index: Index) -> NDArray[np.int64]:
    """Return the indices of images that have nearly one colour after decoding."""
    flat = index.facts["deviation"].astype(np.float64) < ONE_COLOUR
    return np.flatnonzero(~index.broken & flat)


def grey_notes(index: Index) -> list[str]:
    """Describe how grey images of more than 8 bits were scaled."""
    notes, white = [], index.white
    if white.integers < 65535:
        bits = white.integers.bit_length()
        notes.append(f"16-bit files use {bits} bits: {white.integers} is white")
    if white.floats:
        notes.append(f"images of floats: {white.floats:g} is white")
    return notes


def _pictures_of_two_classes(index: Index) -> list[tuple[int, int]]:
    """Return two files of different classes for each content that is in several classes."""
    files, contents = index.files, index.facts["sha1"]
    first: dict[str, int] = {}
    found: dict[str, tuple[int, int]] = {}
    for i in np.flatnonzero(~index.broken).tolist() if files.classes else []:
        other = first.setdefault(contents[i], i)
        if files.targets[other] != files.targets[i]:
            found.setdefault(contents[i], (other, i))
    return list(found.values())


def data_warnings(index: Index, split_names: NDArray[np.str_], *, grouped: bool) -> list[str]:
    """Describe ignored files, skipped images and duplicates, one sentence each."""
    files, notes = index.files, list(index.files.notes)
    if files.ignored:
        kinds = tally(files.ignored)
        notes.append(
            f"{count(files.ignored, 'file')} ignored (no image file name; {kinds}):"
            f" {few(files.ignored)}"
        )
    broken, good = np.flatnonzero(index.broken), np.flatnonzero(~index.broken)
    if len(broken):
        kinds = tally(files.paths[i] for i in broken)
        first = files.paths[broken[0]]
        notes.append(f"{count(broken, 'broken image')} skipped ({kinds}), {first!r} first")
    if len(flat := one_colour(index)):
        notes.append(
            f"{len(flat):,} of {count(good, 'image')} decode to nearly one colour, such as"
            f" {files.paths[flat[0]]!r}; look at them with alexlab data preview"
        )
    notes += grey_notes(index)
    if groups := _pictures_of_two_classes(index):
        first, other = (files.paths[i] for i in groups[0])
        notes.append(
            f"{count(groups, 'picture')} in two classes (the same file), such as {first!r} ="
            f" {other!r}; alexlab data check lists {'them' if len(groups) > 1 else 'it'}"
        )
    distinct = len(np.unique(index.facts["sha1"][good]))
    exact, near = len(good) - distinct, distinct - len(np.unique(index.duplicates[good]))
    if grouped and exact + near:
        notes.append(f"{exact} exact and {near} near duplicates kept in one split")
    if left := int((split_names[good] == LEFT_OUT).sum()):
        whose = " or val" * ("val" in files.official)
        notes.append(f"{left} duplicates of test{whose} images left out of train and val")
    return notes
