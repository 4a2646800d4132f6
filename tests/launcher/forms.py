"""Run a small sweep with any form of the command, and check its result."""

import csv
import os
import shlex
import subprocess
from pathlib import Path

import yaml

from alexlab.runs.folder import read_metrics

SMALL = ["data.num_images=100", "data.resolution=32", "trainer.max_epochs=1"]
DDP = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]


def run(words, folder, **environment):
    """Run a command in `folder`; return its output."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        [*map(str, words)], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_sweep(command, typed, folder, *more, **environment):
    """Run a sweep of two trials with `command` in `folder`; `typed` is the user's form of it."""
    words = ["-m", *SMALL, *more, "optim.lr=0.01,0.02", "sweep.name=s", "sweep.n_jobs=2"]
    run([*command, *words], folder, **environment)
    sweep = Path(folder) / "multirun/s"
    assert {row["state"] for row in trials(sweep)} == {"finished"}
    assert yaml.safe_load((sweep / "sweep.yaml").read_text())["command"] == shlex.join(
        [*typed, *words]
    )
    for row, rate in zip(trials(sweep), ("0.01", "0.02"), strict=True):
        metrics = read_metrics(sweep / row["folder"])
        own = shlex.split(metrics["command"])
        assert own[: len(typed)] == typed
        assert f"optim.lr={rate}" in own
        assert "hydra.mode=RUN" in own
    assert os.listdir(Path(folder) / "multirun") == ["s"]
    assert "nothing to do" in run([*command, *words], folder, **environment)


def trials(sweep):
    with (sweep / "trials.csv").open() as file:
        return list(csv.DictReader(file))
