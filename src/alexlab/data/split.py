"""Deals the images into train, val and test: stratified, grouped, and the same on every machine.

The order in which images are dealt is the order of a hash of (split_seed, content, path), so that
it depends neither on the order of the files nor on the machine nor on any library's generator.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexlab.data.cache import Index
from alexlab.runs.folder import write_atomically

SPLITS = TRAIN, VAL, TEST = "train", "val", "test"
LEFT_OUT = "left out"


def load_or_create_split(
    folder: Path, index: Index, grouped: bool, seed: int, fractions: tuple[float, float]
) -> NDArray[np.str_]:
    """The side of each file [M], "left out" if broken; kept in `folder` as {path: side}.

    `fractions` are those of test and of val.
    """
    files, (test_fraction, val_fraction) = index.files, fractions
    kind = "grouped" if grouped else "random"
    path = folder / f"split-{kind}-{seed}-{test_fraction:.6g}-{val_fraction:.6g}.json"
    if path.exists():
        kept = json.loads(path.read_text("utf-8"))
        return np.array([kept[name] for name in files.paths])
    good = np.flatnonzero(~index.broken)
    keys = index.keys()
    sides = np.full(len(keys), LEFT_OUT)
    sides[good] = split(
        [keys[i] for i in good],
        np.array(files.targets if files.classes else [0] * len(keys))[good],
        index.twins[good] if grouped else good,
        [files.official[i] for i in good],
        seed=seed,
        test_fraction=test_fraction,
        val_fraction=val_fraction,
    )
    write_atomically(
        path, json.dumps(dict(zip(files.paths, sides.tolist(), strict=True)), indent=0)
    )
    return sides


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
    """Deal M images out; a group of twins goes to one side whole.

    In every class, test and val get `round(fraction * images of the class)`, at least one, to
    within one group. Where `official` names a test set it stays as it is: its twins are left out
    of train and val, and `test_fraction` says nothing.

    Args:
        keys: Content hash and path of each image.
        targets: Class of each image [M].
        groups: Group of each image [M]; all different for a split that ignores twins.
        official: "test", "train" or "" for each image.
        seed: Another seed deals another split.
        test_fraction: Of all images of a class.
        val_fraction: Likewise.

    Returns:
        [M]: "train", "val", "test", or "left out" for a twin of an official test image.
    """
    sides = np.full(len(keys), TRAIN, dtype="<U8")
    is_test = np.asarray(official) == TEST
    sides[np.isin(groups, groups[is_test])] = LEFT_OUT
    sides[is_test] = TEST
    sizes = np.bincount(targets)
    fractions = {VAL: val_fraction} if is_test.any() else {TEST: test_fraction, VAL: val_fraction}
    wanted = {side: np.rint(sizes * f).astype(int).clip(1) for side, f in fractions.items()}
    free = defaultdict(list)
    for row in np.flatnonzero(sides == TRAIN).tolist():
        free[groups[row]].append(row)
    for members in sorted(free.values(), key=lambda m: _hash(seed, *sorted(keys[i] for i in m))):
        counts = np.bincount(targets[members], minlength=len(sizes))
        here = counts > 0
        for side, missing in wanted.items():
            # taken when that brings each of its classes nearer to what is wanted, or as near
            if (2 * missing[here] >= counts[here]).all() and (missing[here] > 0).all():
                sides[members] = side
                missing -= counts
                break
    return sides


def take_fraction(
    rows: NDArray[np.int64],
    keys: Sequence[str],
    targets: NDArray[np.int64],
    *,
    seed: int,
    fraction: float,
) -> NDArray[np.int64]:
    """`fraction` of the rows of each class, at least one; the smaller is part of the larger."""
    if fraction == 1:
        return rows
    order = sorted(rows.tolist(), key=lambda row: _hash(seed, "fraction", keys[row]))
    kept: list[int] = []
    for target in np.unique(targets[rows]):
        same = [row for row in order if targets[row] == target]
        kept += same[: max(1, round(fraction * len(same)))]
    return np.array(sorted(kept), np.int64)


def _hash(*parts: object) -> bytes:
    return hashlib.sha1("\0".join(map(str, parts)).encode(errors="surrogateescape")).digest()


Rows = dict[str, NDArray[np.int64]]
Counts = dict[str, dict[str, int]]


def select(
    index: Index, sides: NDArray[np.str_], *, classes: list[int], fraction: float, seed: int
) -> tuple[Rows, Counts, NDArray[np.int64] | NDArray[np.float32], str]:
    """Take the given classes of each split, and `fraction` of train.

    Returns:
        {split: rows among all M files}; {split: {class: images}}; the target of each file, a place
        in `classes` [M] int64 or a score [M] float32; and a hash of the contents, paths and targets
        of the images in use, all of train.
    """
    names = [index.files.classes[i] for i in classes] or ["images"]
    used, targets = ~index.broken, np.array(index.files.targets)
    strata = np.zeros(len(targets), np.int64)
    if classes:
        used &= np.isin(targets, classes)
        targets = strata = np.searchsorted(classes, targets)
    keys = index.keys()
    rows = {side: np.flatnonzero((sides == side) & used) for side in SPLITS}
    rows["train"] = take_fraction(rows["train"], keys, strata, seed=seed, fraction=fraction)
    counts = {
        side: dict(zip(names, np.bincount(strata[r], minlength=len(names)).tolist(), strict=True))
        for side, r in rows.items()
    }
    lines = sorted(f"{keys[i]} {targets[i]}" for i in np.flatnonzero(used))
    text = "\n".join(lines).encode(errors="surrogateescape")
    fingerprint = hashlib.sha1(text, usedforsecurity=False).hexdigest()
    return rows, counts, targets if classes else targets.astype(np.float32), fingerprint


def check_counts(name: str, counts: Mapping[str, Mapping[str, int]], batch_size: int) -> None:
    """ValueError for a class that a split lacks, or a train below one batch."""
    for side, classes in counts.items():
        for of, count in classes.items():
            if not count:
                raise ValueError(
                    f"data={name}: no image of {of!r} for {side}; it has too few different images"
                )
    if (num_train := sum(counts["train"].values())) < batch_size:
        raise ValueError(
            f"data.batch_size={batch_size} is more than the {num_train} images of train"
        )


def check_broken(index: Index) -> None:
    """ValueError that names the first broken image."""
    files, broken = index.files, np.flatnonzero(index.broken)
    if len(broken):
        path, reason = str(files.root / files.paths[broken[0]]), index.facts["error"][broken[0]]
        more = f" ({len(broken)} are broken)" if len(broken) > 1 else ""
        raise ValueError(
            f"broken image {path!r}: {reason}{more}; data.on_broken=skip goes on without"
        )


def data_warnings(index: Index, sides: NDArray[np.str_], *, grouped: bool) -> list[str]:
    """Sentences on what was passed over, kept together and left out."""
    files, notes = index.files, []
    if files.ignored:
        few = ", ".join(map(repr, files.ignored[:3])) + ", ..." * (len(files.ignored) > 3)
        notes.append(f"{_count(files.ignored, 'file')} passed over, no image by name: {few}")
    broken, good = np.flatnonzero(index.broken), np.flatnonzero(~index.broken)
    if len(broken):
        notes.append(f"{_count(broken, 'broken image')} skipped, {files.paths[broken[0]]!r} first")
    distinct = len(np.unique(index.facts["sha1"][good]))
    exact, near = len(good) - distinct, distinct - len(np.unique(index.twins[good]))
    if grouped and exact + near:
        notes.append(f"{exact} exact and {near} near duplicates kept on one side")
    if left := int((sides[good] == LEFT_OUT).sum()):
        notes.append(f"{left} twins of test images left out of train and val")
    return notes


def _count(things: Sequence[object] | NDArray[np.int64], name: str) -> str:
    return f"{len(things)} {name}{'s' * (len(things) != 1)}"
