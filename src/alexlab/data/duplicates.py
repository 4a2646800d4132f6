"""Group exact and near duplicates: images whose perceptual hashes differ in few bits.

The hash is imagehash's `phash`; exact duplicates have equal hashes. The distance was chosen with
pokemon's manifest.csv (265 pairs of duplicates). With up to 4 of 64 bits no pair was wrong, and no
pair was missed if duplicates of duplicates count. With up to 6 bits, 20 of 285 pairs were redrawn
pictures instead of copies.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from alexlab.data.decode import Facts

DISTANCE = 4  # of 64 bits
BLOCK = 16  # number of hashes that are compared with all others at once


def find_duplicates(facts: Sequence[Facts], distance: int = DISTANCE) -> NDArray[np.int64]:
    """Return the group number of each file, [M] int64; a broken file has a group of its own."""
    good = np.array([i for i, fact in enumerate(facts) if not fact.error], np.int64)
    phashes = np.array([facts[i].phash for i in good], np.uint64)
    hashes, first, which = np.unique(phashes, return_index=True, return_inverse=True)
    near = good[first[_near(hashes, distance)]]  # pairs of images, [2, P]
    pairs = np.concatenate([near, [good, good[first[which]]]], axis=1)
    graph = coo_array((np.ones(pairs.shape[1], bool), tuple(pairs)), shape=[len(facts)] * 2)
    groups: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return groups


def _near(hashes: NDArray[np.uint64], distance: int) -> NDArray[np.int64]:
    """Return the pairs [2, P] that differ in at most `distance` bits; memory grows only with P."""
    pairs = [np.empty((2, 0), np.int64)]
    for start in range(0, len(hashes), BLOCK):
        rest = hashes[start:]
        close = np.bitwise_count(rest[:BLOCK, None] ^ rest) <= distance  # [BLOCK, len(rest)]
        pairs.append(start + np.array(np.divmod(np.flatnonzero(close), len(rest))))
    return np.concatenate(pairs, axis=1)
