"""Training in processes of its own: signals, SIGKILL, two ranks."""

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from alexlab.runs.folder import is_locked, read_history, read_metrics

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
QUICK = ["data.num_images=200", "data.resolution=32", "trainer.max_epochs=4", "save_every_s=0"]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def start_in(place, *overrides):
    """Start `python -m alexlab train ...` in the folder `place`."""
    command = [sys.executable, "-m", "alexlab", "train", *overrides]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=place, env=ENVIRONMENT, **pipes)


@pytest.fixture
def start(tmp_path):
    """Starts a short training in an empty folder."""
    return partial(start_in, tmp_path, *QUICK)


def until(process, pattern):
    """Read its output up to the line that matches."""
    for line in process.stdout:
        if re.search(pattern, line):
            return line
    raise AssertionError(f"ended without {pattern!r}")


def only_run(tmp_path):
    (folder,) = (tmp_path / "multirun/single").iterdir()
    return folder


def results(folder):
    metrics = read_metrics(folder)
    timed = {"wall_s", "images_per_s", "peak_rss_mb", "command"}
    timed |= {"git"}  # a commit may come in between
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in read_history(folder)]
    return {k: v for k, v in metrics.items() if k not in timed}, rows


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The folder of a run that nothing has happened to."""
    place = tmp_path_factory.mktemp("place")
    with start_in(place, *QUICK, "hydra.run.dir=unbroken") as process:
        print(process.stdout.read())
    assert process.returncode == 0
    return place / "unbroken"


def test_the_same_command_gives_the_same_numbers(start, tmp_path, unbroken):
    with start("hydra.run.dir=again") as process:
        process.stdout.read()
    assert results(tmp_path / "again") == results(unbroken)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)]
)
def test_a_signal_saves_and_stops_and_a_resume_ends_as_if_nothing_had_been(
    start, tmp_path, unbroken, number, code
):
    with start() as process:
        until(process, r"epoch +1/4")
        process.send_signal(number)
        told = process.stdout.read()
    assert process.returncode == code
    folder = only_run(tmp_path)
    assert f"to go on: python -m alexlab train resume={folder.relative_to(tmp_path)}" in told
    assert read_metrics(folder)["status"] == "stopped"
    goes_on(tmp_path, folder, unbroken)


def goes_on(tmp_path, folder, unbroken):
    with start_in(tmp_path, f"resume={folder.relative_to(tmp_path)}") as process:
        print(process.stdout.read())
    assert process.returncode == 0
    assert results(folder) == results(unbroken)
    assert list((tmp_path / "multirun/single").iterdir()) == [folder]


@pytest.mark.parametrize("epoch", [1, 3])
def test_sigkill_costs_what_was_not_saved_and_changes_no_number(start, tmp_path, unbroken, epoch):
    with start() as process:
        until(process, rf"epoch +{epoch}/4")
        process.kill()
    folder = only_run(tmp_path)
    assert read_metrics(folder) is None
    assert not is_locked(folder)
    goes_on(tmp_path, folder, unbroken)


def test_two_ranks_train_one_model_in_one_folder(start, tmp_path):
    ddp = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    with start(*ddp) as process:
        print(process.stdout.read())
    assert process.returncode == 0
    folder = only_run(tmp_path)
    with start(f"hydra.run.dir={tmp_path}/one", "optim.lr=1e-30", "trainer.max_epochs=1") as one:
        one.stdout.read()
    two, alone = read_metrics(folder), read_metrics(tmp_path / "one")
    assert two["status"] == "finished"
    assert len(read_history(folder)) == 4
    # every image of test counts once: the accuracy is a whole number of the 40 images
    hits = two["metrics"]["test/acc"] * 40
    assert hits == pytest.approx(round(hits), abs=1e-4)
    assert alone["data_fingerprint"] == two["data_fingerprint"]


def test_in_a_sweep_all_ranks_of_a_trial_train_with_its_values_in_its_folder(start, tmp_path):
    """Rank 1 with another rate than rank 0 would drift, and give rank 0 other gradients."""
    ddp = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    ddp += ["trainer.max_epochs=2"]
    with start(*ddp, "optim.lr=0.001,0.01", "sweep.name=s", "-m") as sweep:
        print(sweep.stdout.read())
    with start(*ddp, "optim.lr=0.01", "hydra.run.dir=alone") as process:
        print(process.stdout.read())
    assert sweep.returncode == process.returncode == 0
    assert sorted(p.name for p in tmp_path.glob("multirun/s/[0-9]*/")) == [
        "0-lr-0.001",
        "1-lr-0.01",
    ]
    assert not (tmp_path / "multirun/single").exists()
    slow, fast, alone = (
        read_metrics(tmp_path / name)["metrics"]
        for name in ("multirun/s/0-lr-0.001", "multirun/s/1-lr-0.01", "alone")
    )
    assert fast["train/loss"] == pytest.approx(alone["train/loss"], rel=1e-4)
    assert slow["train/loss"] != pytest.approx(alone["train/loss"], rel=1e-2)


def test_two_ranks_count_each_image_once_whatever_the_split(start, tmp_path):
    """With a rate that changes nothing, two ranks must see in test what one process sees."""
    still = ["optim.lr=1e-30", "trainer.max_epochs=1", "model=alexnet", "model.head=[8]"]
    still += ["data.num_images=205"]  # 41 images of test: an odd number over two ranks
    ddp = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    for name, extra in {"one": [], "two": ddp}.items():
        with start(*still, *extra, f"hydra.run.dir={name}") as process:
            print(process.stdout.read())
    one, two = (read_metrics(tmp_path / name)["metrics"] for name in ("one", "two"))
    for name in ("val/loss", "val/acc", "val/f1", "test/loss", "test/acc", "test/f1"):
        assert two[name] == pytest.approx(one[name], rel=1e-5), name


def test_a_run_on_two_ranks_is_repeated_on_two(start, tmp_path):
    ddp = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    with start(*ddp, "trainer.max_epochs=1", "hydra.run.dir=run") as process:
        print(process.stdout.read())
    command = [sys.executable, "-m", "alexlab", "rerun", "run", "--into", "again"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert "again is the same to the bit as run" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_a_second_process_is_refused_in_a_folder_under_way(start, tmp_path):
    with start("hydra.run.dir=run", "trainer.max_epochs=500") as first:
        until(first, r"epoch +1/")
        with start("hydra.run.dir=run", "trainer.max_epochs=500") as second:
            told = second.stdout.read()
        with start("hydra.run.dir=run", "trainer.max_epochs=4") as third:
            told_third = third.stdout.read()
        first.kill()
    assert (second.returncode, third.returncode) == (1, 1)
    assert "another process is training in run" in told
    assert "hydra.run.dir=run" not in told
    assert "run holds another run (trainer.max_epochs 500 -> 4)" in told_third


def test_what_metrics_json_says_is_json_a_stranger_can_read(unbroken):
    text = (unbroken / "metrics.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["status"] == "finished"
