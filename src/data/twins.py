"""Groups exact and near duplicates: images whose perceptual hashes are equal, or nearly.

The hash is imagehash's `phash`; exact duplicates have the same one. The distance was chosen on
pokemon's manifest.csv (265 pairs of twins): up to 4 bits of 64 no pair was wrong and, with the
twins of twins, none was missed; up to 6 bits 20 of 285 pairs were redrawn rather than copied.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from src.data.decode import Facts

DISTANCE = 4  # of 64 bits
BLOCK = 16  # hashes compared with all others at once


def find_twins(facts: Sequence[Facts], distance: int = DISTANCE) -> NDArray[np.int64]:
    """[M] int64, the same number for images that are each other's twin; broken ones are alone."""
    groups = np.arange(len(facts))  # each image points towards the first of its group
    hashes: dict[int, int] = {}
    for i, fact in enumerate(facts):
        if not fact.error:
            _join(groups, i, hashes.setdefault(fact.phash, i))
    firsts = list(hashes.values())
    for a, b in _near(np.array(list(hashes), np.uint64), distance):
        _join(groups, firsts[a], firsts[b])
    return np.array([_first(groups, i) for i in range(len(facts))])


def _near(hashes: NDArray[np.uint64], distance: int) -> Iterator[tuple[int, int]]:
    """Pairs that differ in at most `distance` bits; memory grows with their number only."""
    for start in range(0, len(hashes), BLOCK):
        rest = hashes[start:]
        close = np.bitwise_count(rest[:BLOCK, None] ^ rest) <= distance  # [BLOCK, len(rest)]
        for hit in np.flatnonzero(close).tolist():
            a, b = divmod(hit, len(rest))
            if a < b:
                yield start + a, start + b


def _first(groups: NDArray[np.int64], i: int) -> int:
    while groups[i] != i:
        groups[i] = groups[groups[i]]  # halves the path
        i = int(groups[i])
    return i


def _join(groups: NDArray[np.int64], a: int, b: int) -> None:
    a, b = _first(groups, a), _first(groups, b)
    groups[max(a, b)] = min(a, b)
