"""What must change nothing in the weights, each beside a run with nothing of it."""

import shutil
from functools import partial

import pytest
import torch

from alexlab.data import cache
from alexlab.runs.checkpoint import load
from alexlab.runs.folder import BEST
from alexlab.training import build
from tests.tiny import same, tiny, train, weights


@pytest.fixture
def config(image_folder, runs):
    return partial(tiny, image_folder, runs, "deterministic=true")


@pytest.fixture
def expected(config, once):
    """The weights of the plain run."""
    return load(once("plain", config()) / BEST)["net"]


def without(*names):
    """Take callbacks away before the training begins."""

    def change(trainer):
        kept = [c for c in trainer.callbacks if type(c).__name__ not in names]
        assert len(kept) == len(trainer.callbacks) - len(names)
        trainer.callbacks = kept

    return change


def sanity_check(trainer):
    trainer.num_sanity_val_steps = 2


CHANGES = {
    "again": ([], None),
    "diagnostics on": (["diagnostics=on"], None),
    "decoded for each batch": (["data.cache=off"], None),
    "saved each epoch": (["save_every_s=0"], None),
    "many test views": (["test_crops=[1,10]"], None),
    "no logging": ([], without("EpochProgress", "TrainingHealthWarnings", "TensorBoard")),
    "sanity check": ([], sanity_check),
}


@pytest.mark.parametrize("name", CHANGES)
def test_it_changes_nothing(config, expected, tmp_path, monkeypatch, name):
    overrides, change = CHANGES[name]
    if change is not None:
        built = build.trainer

        def changed(*args, **kwargs):
            trainer = built(*args, **kwargs)
            change(trainer)
            return trainer

        monkeypatch.setattr(build, "trainer", changed)
    assert same(weights(train(config(*overrides), tmp_path / "run")), expected)
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("state", ["cold", "off"])
def test_the_number_of_data_workers_changes_nothing(
    config, expected, runs, tmp_path, monkeypatch, workers, state
):
    """Images are decoded by one thread for each core."""
    monkeypatch.setattr(cache, "cores", lambda: workers)
    if state == "cold":
        shutil.rmtree(runs / ".cache")
    run = train(config(f"data.cache={'on' if state == 'cold' else 'off'}"), tmp_path / "run")
    assert same(weights(run), expected)


def test_without_it_torch_is_left_alone(config, tmp_path):
    train(config("deterministic=false"), tmp_path / "run")
    assert not torch.are_deterministic_algorithms_enabled()
