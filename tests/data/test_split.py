import hashlib
import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from alexlab.data.decode import DEFAULT_WHITE
from alexlab.data.split import load_or_create_split, select, split, take_fraction

SETTINGS = {"seed": 0, "test_fraction": 0.2, "val_fraction": 0.1}


def random_data(seed):
    """Images of uneven classes in groups of 1 to 6, some across classes."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(4, 400, p=[0.1, 0.2, 0.3, 0.4])
    groups = np.repeat(np.arange(400), rng.integers(1, 7, 400))[:400]
    rng.shuffle(targets)
    same = rng.random(400) < 0.9  # most groups lie within one class
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        targets[members[same[members]]] = targets[members[0]]
    keys = [f"{hashlib.sha1(bytes([i % 256, i // 256])).hexdigest()} {i}.jpg" for i in range(400)]
    return keys, targets, groups, [""] * 400


@pytest.mark.parametrize("seed", range(20))
def test_groups_stay_whole_and_classes_in_proportion(seed):
    keys, targets, groups, official = random_data(seed)
    splits = split(keys, targets, groups, official, **{**SETTINGS, "seed": seed})
    assert set(splits) == {"train", "val", "test"}
    assert all(len(set(splits[groups == group])) == 1 for group in groups)
    for target in range(4):
        total = (targets == target).sum()
        sizes = Counter(groups[targets == target])
        for name, fraction in (("test", 0.2), ("val", 0.1), ("train", 0.7)):
            count = ((targets == target) & (splits == name)).sum()
            slack = max(sizes.values()) * (2 if name == "train" else 1)
            assert abs(count - fraction * total) <= slack, (target, name)


@pytest.mark.parametrize("seed", range(5))
def test_neither_the_order_nor_the_numbering_matters(seed):
    keys, targets, groups, official = random_data(seed)
    splits = split(keys, targets, groups, official, **SETTINGS)
    order = np.random.default_rng(seed).permutation(400)
    renumbered = np.random.default_rng(seed).permutation(1000)[groups[order]]
    shuffled = [keys[i] for i in order]
    again = split(shuffled, targets[order], renumbered, official, **SETTINGS)
    np.testing.assert_array_equal(again, splits[order])


def test_without_groups_the_counts_are_exact():
    keys, targets, _, official = random_data(0)
    splits = split(keys, targets, np.arange(400), official, **SETTINGS)
    for target in range(4):
        total = (targets == target).sum()
        for name, fraction in (("test", 0.2), ("val", 0.1)):
            count = ((targets == target) & (splits == name)).sum()
            assert abs(count - fraction * total) <= 0.5


def test_another_seed_is_another_split():
    keys, targets, groups, official = random_data(0)
    one = split(keys, targets, groups, official, **SETTINGS)
    two = split(keys, targets, groups, official, **{**SETTINGS, "seed": 1})
    agree = (one == two).mean()
    assert agree < 0.8  # by chance .7^2 + .2^2 + .1^2 = .54


def test_large_groups_go_to_test_as_often_as_small_ones():
    groups = np.concatenate([np.repeat(np.arange(500), 2), np.arange(500, 1500)])
    targets = np.zeros(2000, int)
    keys = [hashlib.sha1(str(i).encode()).hexdigest() for i in range(2000)]
    splits = split(keys, targets, groups, [""] * 2000, **SETTINGS)
    pairs, singles = (splits[:1000] == "test").mean(), (splits[1000:] == "test").mean()
    assert abs(pairs - singles) < 0.06  # 3 standard deviations


@pytest.mark.parametrize(("size", "held_out"), [(2, 2), (3, 3), (4, 4), (5, 0)])
def test_a_group_is_held_out_if_that_is_as_near_to_the_wanted_number(size, held_out):
    """Three groups, of which test and val want 1 image of 2 each, or else 2 images of `size`.

    One group or none is nearer: 2 and 0 are as near to 1, 3 is nearer to 2 than 0, 5 is not.
    """
    wanted = 1 if size == 2 else 2
    groups = np.repeat(np.arange(3), size)
    keys = [f"{i:040x} {i}" for i in range(3 * size)]
    fractions = dict.fromkeys(("test_fraction", "val_fraction"), wanted / (3 * size))
    splits = split(keys, np.zeros_like(groups), groups, [""] * len(keys), seed=0, **fractions)
    assert ((splits == "test").sum(), (splits == "val").sum()) == (held_out, held_out)


def test_the_split_is_the_same_on_every_machine():
    """The order of SHA-1("seed, NUL, key"), worked out here without the code under test."""
    keys = [f"{i:040x} cat/{i}.jpg" for i in range(10)]
    order = sorted(range(10), key=lambda i: hashlib.sha1(f"0\0{keys[i]}".encode()).digest())
    splits = split(keys, np.zeros(10, int), np.arange(10), [""] * 10, **SETTINGS)
    assert sorted(order[:2]) == np.flatnonzero(splits == "test").tolist()
    assert [order[2]] == np.flatnonzero(splits == "val").tolist()


def test_an_official_test_stays_and_its_duplicates_leave():
    keys = [f"{i:040x} {i}" for i in range(30)]
    targets = np.arange(30) % 2
    official = ["test"] * 6 + ["train"] * 24
    groups = np.arange(30)
    groups[[0, 10, 11]] = 0  # a test image with two duplicates in train
    groups[[1, 2]] = 1  # duplicates within test
    splits = split(keys, targets, groups, official, **SETTINGS)
    assert np.flatnonzero(splits == "test").tolist() == [0, 1, 2, 3, 4, 5]
    assert np.flatnonzero(splits == "left out").tolist() == [10, 11]
    assert (splits == "val").sum() == 4  # a tenth of 15, rounded to even, in each class
    plain = split(keys, targets, np.arange(30), official, **SETTINGS)
    assert (plain == "left out").sum() == 0


def test_an_official_val_image_that_is_a_duplicate_of_a_test_image_leaves():
    """Both are official: the test stays as it is."""
    keys = [f"{i:040x} {i}" for i in range(6)]
    official = ["test", "test", "val", "val", "train", "train"]
    groups = np.array([0, 1, 0, 3, 4, 5])
    splits = split(keys, np.arange(6) % 2, groups, official, **SETTINGS)
    assert splits.tolist() == ["test", "test", "left out", "val", "train", "train"]


def test_a_small_class_still_has_val_and_test():
    keys = [f"{i:040x} {i}" for i in range(6)]
    splits = split(keys, np.arange(6) // 3, np.arange(6), [""] * 6, **SETTINGS)
    for one_class in (slice(0, 3), slice(3, 6)):
        assert sorted(splits[one_class]) == ["test", "train", "val"]


def test_fractions_are_nested_and_stratified():
    keys, targets, _, _ = random_data(0)
    indices = np.arange(0, 400, 2)
    kept = {
        fraction: take_fraction(indices, keys, targets, seed=0, fraction=fraction)
        for fraction in (0.01, 0.1, 0.25, 0.5, 0.9, 1.0)
    }
    assert kept[1.0].tolist() == indices.tolist()
    for small, large in zip(kept.values(), list(kept.values())[1:], strict=False):
        assert set(small) < set(large)
    for fraction, some in kept.items():
        for target in range(4):
            want = max(1, fraction * (targets[indices] == target).sum())
            assert abs((targets[some] == target).sum() - want) <= 0.5
        assert some.tolist() == sorted(some)  # the order of an epoch follows from it
    other = take_fraction(indices, keys, targets, seed=1, fraction=0.5)
    assert set(other) != set(kept[0.5])


@pytest.mark.parametrize("changed", ["key", "target", "white", "nothing"])
def test_the_fingerprint_is_that_of_pixels_and_targets(changed):
    """The pixels of 16-bit files follow from their contents and from what is white."""

    def fingerprint(keys, targets, white=DEFAULT_WHITE):
        files = SimpleNamespace(classes=["a", "b"], targets=targets)
        facts = {"broken": np.zeros(3, bool), "white": white, "keys": lambda: keys}
        index = SimpleNamespace(files=files, **facts)
        names = np.array(["train", "val", "test"])
        return select(index, names, classes=[0, 1], fraction=1, seed=0)[3]

    keys = {"key": ["k", "l", "n"]}.get(changed, ["k", "l", "m"])
    targets = {"target": [0, 1, 1]}.get(changed, [0, 1, 0])
    white = DEFAULT_WHITE._replace(integers=4095) if changed == "white" else DEFAULT_WHITE
    same = fingerprint(keys, targets, white) == fingerprint(["k", "l", "m"], [0, 1, 0])
    assert same == (changed == "nothing")


def test_an_official_val_alone_leaves_its_fraction_without_effect():
    keys = [f"{i:040x} {i}" for i in range(20)]
    official = ["val"] * 5 + [""] * 15
    fractions = {"seed": 0, "test_fraction": 0.2, "val_fraction": 0.4}
    splits = split(keys, np.zeros(20, int), np.arange(20), official, **fractions)
    assert np.flatnonzero(splits == "val").tolist() == [0, 1, 2, 3, 4]
    assert (splits == "test").sum() == 4  # a fifth of all 20
    assert (splits == "train").sum() == 11


@pytest.fixture
def index():
    """Nine images: four dogs, three cats, two birds; the last dog is broken."""
    classes = ["bird", "cat", "dog"]
    targets = [2, 2, 1, 1, 0, 2, 1, 0, 2]
    paths = [f"{classes[t]}/{i}.png" for i, t in enumerate(targets)]
    files = SimpleNamespace(classes=classes, targets=targets, official=[""] * 9, paths=paths)
    return SimpleNamespace(
        **{"files": files, "broken": np.arange(9) == 8, "white": DEFAULT_WHITE},
        **{
            "duplicates": np.arange(9),
            "keys": lambda: [f"{i:040x} {p}" for i, p in enumerate(paths)],
        },
    )


NAMES = np.array(["train", "train", "train", "val", "val", "test", "test", "test", "train"])


def test_images_of_the_chosen_classes_are_selected(index):
    found, counts, targets, _ = select(index, NAMES, classes=[1, 2], fraction=1, seed=0)
    assert {name: rows.tolist() for name, rows in found.items()} == {
        **{"train": [0, 1, 2], "val": [3], "test": [5, 6]}
    }
    assert counts == {
        "train": {"cat": 1, "dog": 2},
        "val": {"cat": 1, "dog": 0},
        "test": {"cat": 1, "dog": 1},
    }
    assert [targets[i] for i in (0, 1, 2, 3, 5, 6)] == [1, 1, 0, 0, 1, 0]  # cat 0, dog 1
    assert targets.dtype == np.int64


def test_scores_are_targets_as_they_are(index):
    index.files.classes, index.files.targets = [], [1.5, 2.5, 3, 4, 5, 6, 7, 8, 9]
    found, counts, targets, _ = select(index, NAMES, classes=[], fraction=1, seed=0)
    assert counts == {"train": {"images": 3}, "val": {"images": 2}, "test": {"images": 3}}
    assert targets.dtype == np.float32
    assert targets[found["train"]].tolist() == [1.5, 2.5, 3]


def test_a_stored_split_is_read_again_unless_it_is_damaged(index, tmp_path, caplog):
    made = load_or_create_split(tmp_path, index, True, 0, (0.25, 0.25))
    assert made[8] == "left out"
    (path,) = tmp_path.iterdir()
    assert path.name == "split-grouped-0-0.25-0.25.json"
    stored = json.loads(path.read_text())
    assert stored == dict(zip(index.files.paths, made.tolist(), strict=True))
    changed = {**stored, "bird/4.png": "test" if stored["bird/4.png"] != "test" else "val"}
    path.write_text(json.dumps(changed))
    assert load_or_create_split(tmp_path, index, True, 0, (0.25, 0.25))[4] == changed["bird/4.png"]
    without = {k: v for k, v in stored.items() if k != "bird/4.png"}
    for damage in ({**stored, "more.png": "test"}, {**stored, "bird/4.png": "tset"}, without, []):
        path.write_text(json.dumps(damage))
        again = load_or_create_split(tmp_path, index, True, 0, (0.25, 0.25))
        assert again.tolist() == made.tolist()
        assert "is damaged" in caplog.text
        caplog.clear()
    assert json.loads(path.read_text()) == stored


def test_a_random_split_has_no_groups(index, tmp_path):
    index.duplicates = np.array([0, 0, 2, 2, 4, 0, 2, 4, 8])  # each class is one group
    grouped = load_or_create_split(tmp_path, index, True, 0, (0.4, 0.3))
    assert all(len(set(grouped[rows])) == 1 for rows in ([0, 1, 5], [2, 3, 6], [4, 7]))
    plain = load_or_create_split(tmp_path, index, False, 0, (0.4, 0.3))
    assert len(set(plain[[0, 1, 5]])) == len(set(plain[[2, 3, 6]])) == 3
    assert len(list(tmp_path.iterdir())) == 2
