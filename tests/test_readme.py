"""The README's own commands: all of them compose, the first ones run on the real images."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from alexlab.runs.folder import read_metrics

ROOT = Path(__file__).parents[1]
LINES = [line.strip() for line in (ROOT / "README.md").read_text("utf-8").splitlines()]
COMMANDS = sorted({line.split("  ")[0] for line in LINES if line.startswith("python -m src.train")})
SINGLE = [c for c in COMMANDS if " -m " not in c.removeprefix("python -m") and "FOLDER" not in c]


def overrides_of(command):
    return shlex.split(command)[3:]


@pytest.mark.parametrize("command", SINGLE)
def test_it_composes(compose, command):
    compose(*[o for o in overrides_of(command) if not o.startswith("--")])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in SINGLE])
def test_its_overrides_can_be_read(command):
    OverridesParser.create().parse_overrides([o for o in overrides_of(command) if o != "-m"])


def test_the_commands_that_newcomers_are_promised_are_there():
    promised = [
        "python -m src.train model=alexnet act=tanh",
        "python -m src.train -m optim.lr=0.01,0.005 data.batch_size=8,16,32",
    ]
    assert set(promised) <= set(COMMANDS)


def run(tmp_path, overrides):
    command = [sys.executable, "-m", "alexlab", "train", *overrides]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    return done.stdout


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("command", [c for c in SINGLE if "data=" in c or "act=" in c])
def test_it_trains_on_the_real_images(tmp_path, command):
    """Cut to an epoch, and CIFAR-10 to a twentieth of its training images."""
    if "DATA_DIR" not in os.environ and "data=" in command:
        pytest.skip("DATA_DIR is not set: no real images")
    cut = ["trainer.max_epochs=1", *["data.fraction=0.05"] * ("cifar10" in command)]
    overrides = overrides_of(command)
    run(tmp_path, [*overrides, *cut, "hydra.run.dir=run"])
    metrics = read_metrics(tmp_path / "run")
    assert metrics["status"] == "finished"
    chance = 0.1 if "cifar10" in command else 0.2
    assert metrics["metrics"]["test/acc"] >= 0.8 * chance


@pytest.mark.slow
def test_the_sweep_of_the_readme_runs_and_then_has_nothing_to_do(tmp_path):
    (command,) = [c for c in COMMANDS if c.endswith("data.batch_size=8,16,32")]
    small = ["data.num_images=200", "data.resolution=32", "trainer.max_epochs=1"]
    run(tmp_path, [*overrides_of(command), *small])
    (sweep,) = (tmp_path / "multirun").iterdir()
    states = [line.split(",")[1] for line in (sweep / "trials.csv").read_text().splitlines()[1:]]
    assert states == ["finished"] * 6
    assert "nothing to do" in run(tmp_path, [*overrides_of(command), *small])
