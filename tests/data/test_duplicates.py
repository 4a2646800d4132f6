import os
from itertools import combinations
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from alexlab.data.decode import Facts, read_image
from alexlab.data.duplicates import find_duplicates


def groups(numbers):
    return sorted(sorted(np.flatnonzero(numbers == n).tolist()) for n in set(numbers.tolist()))


def test_groups_by_hand():
    facts = [
        Facts("a", phash=0b0000),
        Facts("b", phash=0b1111 << 40),  # 4 bits from the first: near
        Facts("a", phash=0b0000),  # the first again
        Facts("c", phash=0b11111 << 10),  # 5 bits from the first: not near
        Facts("d", phash=0b11111111 << 40),  # near to the second only: a chain
        Facts("e", error="broken"),
        Facts("e", error="broken"),
    ]
    assert groups(find_duplicates(facts)) == [[0, 1, 2, 4], [3], [5], [6]]


def test_many_hashes_against_every_pair():
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 2**63, 60, dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (300, 3), dtype=np.uint64)
    hashes = centres[rng.integers(0, 60, 300)] ^ np.bitwise_xor.reduce(flips, axis=1)
    facts = [Facts(str(i), int(h)) for i, h in enumerate(hashes)]
    found = find_duplicates(facts)
    parent = list(range(300))  # the plainest way to find connected pairs
    for a, b in combinations(range(300), 2):
        if (int(hashes[a]) ^ int(hashes[b])).bit_count() <= 4:
            keep, drop = parent[a], parent[b]
            parent = [keep if p == drop else p for p in parent]
    assert groups(found) == groups(np.array(parent))
    assert 60 <= len(groups(found)) < 300


def test_the_number_of_a_group_does_not_count_on_order():
    facts = [Facts("a", 0), Facts("b", 1 << 63), Facts("c", 0xFFFFFFFF), Facts("a", 0)]
    assert groups(find_duplicates(facts)) == [[0, 1, 3], [2]]
    assert groups(find_duplicates(facts[::-1])) == [[0, 2, 3], [1]]


def test_phash_is_the_library_s_and_survives_recompression(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 6, 3), np.uint8)
    image = Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC)
    image.save(tmp_path / "a.png")
    image.resize((64, 64)).save(tmp_path / "b.jpg", quality=60)
    Image.fromarray(pixels[::-1, ::-1]).resize((96, 96)).save(tmp_path / "c.png")
    facts = [read_image(tmp_path / name, None, "crop")[0] for name in ("a.png", "b.jpg", "c.png")]
    assert facts[0].phash == int(str(imagehash.phash(image)), 16)
    assert groups(find_duplicates(facts)) == [[0, 1], [2]]


@pytest.mark.real_data
@pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set")
def test_pokemon_duplicates_against_the_manifest(tmp_path):
    from alexlab.data.cache import ImageCache
    from alexlab.data.check import _against_manifest
    from alexlab.data.files import find_class_images

    files = find_class_images(Path(os.environ["DATA_DIR"]) / "pokemon")
    index = ImageCache(files, "pokemon", folder=tmp_path, fit="crop").index()
    truth = _against_manifest(files, index)
    assert truth["pairs_true"] == 265  # counted in the manifest with a spreadsheet
    assert truth["precision"] >= 0.99
    assert truth["recall"] >= 0.99
