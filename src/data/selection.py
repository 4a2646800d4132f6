"""Which images of a data set are used, for what and as what: the split, cut as the user wants."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from src.data.cache import Index
from src.data.split import LEFT_OUT, SPLITS, take_fraction

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


def notes_on(index: Index, sides: NDArray[np.str_], *, grouped: bool) -> list[str]:
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
