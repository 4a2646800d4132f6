"""How often a run does what takes time beside its steps; a timed test would fail on busy machines.

The numbers are those of what a run leaves: config.yaml, best.ckpt, history.csv and metrics.json are
on the disk when it has ended, each with the name of its folder's entry.
"""

import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny import EPOCHS, train

SAFE = {"config.yaml", "history.csv", "best.ckpt", "metrics.json"}


@pytest.fixture(autouse=True)
def _committed(monkeypatch):
    """A checkout without changes, of which a run would keep the difference."""
    monkeypatch.setattr("alexlab.runs.provenance.code", lambda: (40 * "0", ""))


@pytest.fixture
def synced(monkeypatch):
    """The names of the files that os.fsync has waited for, each with its number of times."""
    names, fsync = Counter(), os.fsync

    def count(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        names[path.name.removeprefix(".").split(f".{os.getpid()}")[0]] += 1
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", count)
    return names


@pytest.mark.parametrize("epochs", [EPOCHS, 3 * EPOCHS])
def test_a_trial_waits_for_the_disk_once_for_each_file_whatever_its_epochs(
    config, tmp_path, synced, epochs
):
    cfg = config()
    train(cfg, tmp_path / "first", trial=True)  # fills the cache of images
    synced.clear()
    cfg.trainer.max_epochs = epochs
    train(cfg, tmp_path / "run", trial=True)
    assert {name: synced[name] for name in SAFE} == dict.fromkeys(SAFE, 1)
    folders = {"run": 3, "checkpoints": 1}  # their entries, after each rename
    assert synced == Counter(dict.fromkeys(SAFE, 1) | folders)


def test_a_trial_leaves_no_other_files_than_these(config, tmp_path):
    train(config(), tmp_path / "run", trial=True)
    found = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*")}
    names = {name.split(".tfevents")[0] for name in found}
    expected = {*SAFE, "train.log", ".lock", "checkpoints", "events.out"} - {"best.ckpt"}
    assert names == {*expected, "checkpoints/best.ckpt"}


def test_an_image_is_opened_once_for_all_runs_of_a_size(config, tmp_path, monkeypatch):
    opened, open_image = Counter(), Image.open

    def count(file, *more, **settings):
        opened[getattr(file, "name", str(file))] += 1
        return open_image(file, *more, **settings)

    monkeypatch.setattr(Image, "open", count)
    cfg = config(f"cache_dir={tmp_path}/.cache")
    for number in range(2):
        train(cfg, tmp_path / str(number), trial=True)
    assert sum(opened.values()) == 18  # the images of tests/conftest.py
