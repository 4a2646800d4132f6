"""Define fixtures for all tests: configs, a small image folder that a net can learn, runs."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from functools import partial
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from alexlab.runs.config import compose_config

torch.set_num_threads(1)  # a second thread does not make such small nets faster

COLOURS = {"blue": (40, 60, 200), "green": (40, 200, 60), "red": (200, 40, 60)}


def pytest_configure(config):
    """Hide GPUs unless -m selects GPU tests: results differ in bits, and CUDA cannot fork."""
    if not re.search(r"(?<!not )\bgpu\b", config.getoption("markexpr") or ""):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture
def compose():
    """Return a function: compose("model=alexnet", ...) gives the config of that command line."""
    return lambda *overrides: compose_config(overrides)


@pytest.fixture
def alexlab(monkeypatch):
    """Return a function: alexlab("evaluate", run, "--crops", 10) runs that verb in this process."""

    def call(verb, *words):
        monkeypatch.setattr(sys, "argv", [f"alexlab {verb}", *map(str, words)])
        import_module(f"alexlab.commands.{verb.replace('-', '_')}").main()

    return call


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """Write 3 classes x 6 images of 16 to 32 px; the class is the dominant colour."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir()
        for i in range(6):
            side = int(rng.integers(16, 33))
            noise = rng.normal(0, 60, (side, side, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def config(image_folder, tmp_path_factory):
    """Return a function: config("sched=step", ...) gives the config of a tiny run (tiny.py)."""
    from tests.tiny import tiny

    return partial(tiny, image_folder, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def once(runs):
    """Return a function: once(name, cfg) trains a run at its first call; it returns the folder."""
    from tests.tiny import train

    def make(name, cfg):
        if not (runs / name).exists():
            train(cfg, runs / name)
        return runs / name

    return make


@pytest.fixture(scope="session")
def train_shapes(tmp_path_factory):
    """Return a function: train_shapes("model=alexnet", ...) trains briefly, returns the folder."""
    from tests.tiny import train

    cache = tmp_path_factory.mktemp("shapes")
    few = ["data.num_images=100", "trainer.max_epochs=1", f"cache_dir={cache}"]

    def make(*overrides):
        folder = tmp_path_factory.mktemp("runs") / "run"
        train(compose_config([*few, *overrides]), folder)
        return folder

    return make


@pytest.fixture(scope="session")
def class_run(train_shapes):
    """Train a small net on shapes, with crops of 32 pixels from 36."""
    return train_shapes("data.resolution=32", "data.load_size=36")


@pytest.fixture(scope="session")
def score_run(train_shapes):
    """Train the same net on the scores of shapes."""
    return train_shapes("data.resolution=32", "data.targets=score", "task=regression")


@pytest.fixture(scope="session")
def needs_git():
    """Skip a test if git is not installed."""
    if shutil.which("git") is None:
        pytest.skip("needs git")


HITS = pytest.StashKey[list[str]]()


@pytest.fixture
def hit(request):
    """Return a function: hit("killed at step 7") counts an injected fault for the summary."""
    return request.config.stash.setdefault(HITS, []).append


def pytest_terminal_summary(terminalreporter, config):
    if told := Counter(config.stash.get(HITS, [])):
        terminalreporter.section("faults injected")
        for fault, times in told.items():
            terminalreporter.line(f"{times:>5} x {fault}")


@pytest.fixture
def small_disk(tmp_path):
    """Return a function: small_disk(options) mounts or remounts a file system in memory."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        again = "remount," if os.path.ismount(place) else ""
        command = ["mount", "-t", "tmpfs", "-o", again + options, "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("may not mount a small disk here")
        return place

    yield mount
    subprocess.run(["umount", "-l", str(place)], capture_output=True)
