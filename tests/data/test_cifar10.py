import hashlib
import os
import pickle

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10

from alexlab.data.cifar10 import Cifar10Data

NAMES = ["cat", "dog"]
SETTINGS = {"name": "cifar10", "resolution": 32, "batch_size": 4, "val_fraction": 0.2}


@pytest.fixture
def pickles(tmp_path, monkeypatch):
    """A small data set in the form of CIFAR-10's python version, known by its checksums."""
    root = tmp_path / "cifar10"
    folder = root / CIFAR10.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)

    def write(name, content):
        text = pickle.dumps(content)
        (folder / name).write_bytes(text)
        return [name, hashlib.md5(text).hexdigest()]

    def batch(count):
        return {
            "data": rng.integers(0, 256, (count, 3072), np.uint8),
            "labels": [i % 2 for i in range(count)],
        }

    lists = [[write(f"data_batch_{i}", batch(10)) for i in (1, 2)], [write("test_batch", batch(8))]]
    monkeypatch.setattr(CIFAR10, "train_list", lists[0])
    monkeypatch.setattr(CIFAR10, "test_list", lists[1])
    monkeypatch.setattr("alexlab.data.cifar10.META", write("batches.meta", {"label_names": NAMES}))
    return root


def make(root, tmp_path, **settings):
    data = Cifar10Data(str(root), **{**SETTINGS, "cache_dir": str(tmp_path / "cache"), **settings})
    data.prepare()
    return data


def test_pickles_become_images_without_loss(pickles, tmp_path):
    data = make(pickles, tmp_path)
    assert data.classes == NAMES
    assert data.counts["test"] == {"cat": 4, "dog": 4}
    assert {split: sum(c.values()) for split, c in data.counts.items()} == {
        "train": 14,
        "val": 6,
        "test": 8,
    }
    raw = pickle.loads((pickles / CIFAR10.base_folder / "data_batch_2").read_bytes())
    row = data.files.paths.index("train/dog/00013.png")  # the fourth image of the second batch
    expected = raw["data"][3].reshape(3, 32, 32)
    np.testing.assert_array_equal(data.images[row].numpy(), expected)
    assert data.targets[row] == 1


def test_pickles_are_opened_once(pickles, tmp_path, monkeypatch):
    expected = make(pickles, tmp_path).fingerprint
    monkeypatch.setattr(pickle, "loads", lambda *_, **__: pytest.fail("opened again"))
    assert make(pickles, tmp_path).fingerprint == expected


class Malice:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
def test_a_malicious_pickle_is_not_opened(pickles, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (pickles / CIFAR10.base_folder / name).write_bytes(pickle.dumps(Malice()))
    with pytest.raises(ValueError, match=f"{name}: its md5 is not that of CIFAR-10's own file"):
        make(pickles, tmp_path)
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "cache" / "cifar10-images").exists()


def test_folders_serve_as_well(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 3)):
        for name in NAMES:
            folder = tmp_path / "cifar10" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
                image.save(folder / f"{i}.png")
    data = make(tmp_path / "cifar10", tmp_path)
    assert data.counts["test"] == {"cat": 3, "dog": 3}
    assert all(data.files.paths[i].startswith("test/") for i in data.indices["test"])
    assert sum(data.counts["val"].values()) == 6  # a fifth of all 13, rounded, in each class


@pytest.mark.real_data
@pytest.mark.skipif(
    not os.path.isdir(os.path.join(os.environ.get("DATA_DIR", "."), "cifar10", "train")),
    reason="DATA_DIR/cifar10/train is not there",
)
def test_the_real_one_is_dealt_48000_2000_10000(tmp_path, compose):
    root = os.path.join(os.environ["DATA_DIR"], "cifar10")
    val_fraction = compose("data=cifar10").data.val_fraction
    data = Cifar10Data(
        root, **{**SETTINGS, "val_fraction": val_fraction}, split="random", cache_dir=str(tmp_path)
    )
    data.prepare()
    assert {split: list(c.values()) for split, c in data.counts.items()} == {
        "train": [4800] * 10,
        "val": [200] * 10,
        "test": [1000] * 10,
    }
