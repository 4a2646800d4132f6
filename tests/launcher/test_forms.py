"""Sweeps by each form of the command: recorded as typed, with two ranks, and run again."""

import os
import sys
from pathlib import Path

import pytest

from tests.launcher.forms import DDP, check_sweep, run, trials

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATHS = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
FORMS = {
    "python -m src.train": [sys.executable, "-m", "src.train"],
    "python -m alexlab train": [sys.executable, "-m", "alexlab", "train"],
    "alexlab train": [str(Path(sys.executable).with_name("alexlab")), "train"],
}


@pytest.mark.parametrize("typed", FORMS)
def test_a_sweep_and_its_repetition(tmp_path, typed):
    check_sweep(FORMS[typed], typed.split(), tmp_path, **PATHS)
    first = tmp_path / "multirun/s/0-lr-0.01/metrics.json"
    before = first.stat().st_mtime_ns
    rerun = [sys.executable, "-m", "alexlab", "sweeps", "rerun", "multirun/s", "--trials", "0"]
    run(rerun, tmp_path, **PATHS)
    assert first.stat().st_mtime_ns > before
    assert {row["state"] for row in trials(tmp_path / "multirun/s")} == {"finished"}


@pytest.mark.parametrize(
    ("typed", "start"),
    [*((typed, "forkserver") for typed in FORMS), ("alexlab train", "spawn")],
)
def test_two_ranks_in_a_sweep(tmp_path, typed, start):
    more = [*DDP, f"hydra.launcher.start_method={start}"]
    check_sweep(FORMS[typed], typed.split(), tmp_path, *more, **PATHS)


def test_two_ranks_of_a_single_run(tmp_path):
    words = [*DDP, "data.num_images=100", "trainer.max_epochs=1"]
    run([*FORMS["alexlab train"], *words], tmp_path, **PATHS)
    (folder,) = tmp_path.glob("multirun/single/*")
    assert (folder / "metrics.json").exists()
