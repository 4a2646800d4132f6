"""Measure sweeps: six trials beside other tools, 100 small trials, overhead, two studies."""

import csv
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks.process import ALEXLAB, PEERS, PYTHON, ROOT, run
from benchmarks.table import Goal, Options, Row, UnavailableError
from benchmarks.trainings import images_in_train, pokemon

SWEEP = [*ALEXLAB, "train", "-m"]
GRID = ["optim.lr=0.01,0.005", "data.batch_size=8,16,32"]
BASIC, JOBLIB, RAY = "Hydra's sweeper + Lightning", "Hydra joblib, 2 jobs", "Ray Tune, 2 at a time"
SMALL = ["model=small_cnn", "data.resolution=32"]
BIG = ["model=alexnet_torchvision", "data.resolution=64"]  # 57 million parameters


def our_six(jobs: int, options: Options) -> float:
    """Return the seconds of the six trials with alexlab, including the decoding of the images."""
    settings = ["model=alexnet_torchvision", "data=pokemon", f"data.root={pokemon()}", *GRID]
    settings += ["trainer.max_epochs=3", f"sweep.n_jobs={jobs}"]
    settings += ["data.fraction=0.1"] * options.quick
    with tempfile.TemporaryDirectory() as folder:
        return run([*SWEEP, *settings], Path(folder))[0]


def hydra_six(more: list[str], options: Options) -> float:
    """Return the seconds of the six trials in a Hydra app with plain Lightning."""
    images = 32 if options.quick else images_in_train(1)
    command = [PYTHON, "-m", "benchmarks.peers.hydra_app", "-m", f"root={pokemon()}", *GRID]
    with tempfile.TemporaryDirectory() as folder:
        return run([*command, f"images={images}", *more], Path(folder))[0]


def hydra_joblib_six(options: Options) -> float:
    """Return the seconds of the six trials with Hydra's joblib launcher.

    Raises:
        UnavailableError: The launcher is not installed.
    """
    try:
        import hydra_plugins.hydra_joblib_launcher  # noqa: F401
    except ImportError:
        raise UnavailableError("not installed: hydra-joblib-launcher") from None
    return hydra_six(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "workers=0"], options)


def ray_six(options: Options) -> float:
    """Return the seconds of the six trials under Ray Tune.

    Raises:
        UnavailableError: Ray Tune is not installed.
    """
    if subprocess.run([PEERS, "-c", "import ray.tune"], capture_output=True).returncode:
        raise UnavailableError("not installed: ray[tune]")
    images = 32 if options.quick else images_in_train(1)
    command = [PEERS, "-m", "benchmarks.peers.ray_app", pokemon(), f"--images={images}"]
    with tempfile.TemporaryDirectory() as folder:
        return run(command, Path(folder))[0]


def hundred(jobs: str, options: Options) -> float:
    """Return trials per minute of a sweep of small trainings, including its start and report."""
    trials = 4 if options.quick else 100
    settings = [*SMALL, "data.num_images=300", "trainer.max_epochs=2", f"seed=range(0,{trials})"]
    with tempfile.TemporaryDirectory() as folder:
        return 60 * trials / run([*SWEEP, *settings, f"sweep.n_jobs={jobs}"], Path(folder))[0]


def middle(jobs: int, options: Options) -> float:
    """Return trials per minute of a sweep of AlexNet, half as wide, at batch size 8."""
    trials = 2 if options.quick else 4
    settings = ["model=alexnet", "model.width=0.5", "model.head=[256]", "data.resolution=64"]
    settings += ["data.batch_size=8", f"data.num_images={60 if options.quick else 400}"]
    settings += ["trainer.max_epochs=3", f"seed=range(0,{trials})", f"sweep.n_jobs={jobs}"]
    with tempfile.TemporaryDirectory() as folder:
        return 60 * trials / run([*SWEEP, *settings], Path(folder))[0]


def overhead(settings: list[str], trials: int, options: Options) -> float:
    """Return the median seconds from the end of a trial to that of the next, without training.

    The training is the part of the epochs in which steps run. All other work is overhead: val,
    test, checkpoints, logs, the start of the process, and the sweeper.
    """
    trials = 3 if options.quick else trials
    more = ["data.num_images=100", "trainer.max_epochs=2", f"seed=range(0,{trials})"]
    with tempfile.TemporaryDirectory() as folder:
        run([*SWEEP, *settings, *more, "sweep.n_jobs=1", "sweep.name=s"], Path(folder))
        ends = []
        for path in Path(folder).glob("multirun/s/*/metrics.json"):
            with (path.parent / "history.csv").open(newline="") as file:
                steps = sum(float(row["seconds"]) for row in csv.DictReader(file))
            ends.append((path.stat().st_mtime, steps))
        return median(b - a - steps for (a, _), (b, steps) in pairwise(sorted(ends)))


def two_studies(options: Options) -> Mapping[str, float]:
    """Run two studies that have a condition in common; count the trainings and the decodings.

    The studies of benchmarks/conf have 4 conditions at 2 seeds, one of them in both.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        printed = []
        for study in ("first", "second"):
            command = [*ALEXLAB, "train", f"--config-dir={ROOT}/benchmarks/conf", f"study={study}"]
            printed.append(run(command, folder)[1])
        found = list(folder.glob("multirun/*/*/metrics.json"))
        trained = [one for one in found if "reused_from" not in json.loads(one.read_text())]
        printed += [one.with_name("train.log").read_text() for one in trained]
        caches = list(folder.glob(".cache/*/images-*-crop.npy"))
        distinct = {
            row["identity"]
            for path in folder.glob("multirun/*/trials.csv")
            for row in csv.DictReader(path.open(newline=""))
        }
    decodes = sum(text.count("decoding the") for text in printed)
    return {
        "trials": len(found),
        "trained": len(trained),
        "trained twice": len(trained) - len(distinct),
        "decoded": decodes,
        "decoded twice": decodes - len(caches),
    }


def rows() -> list[Row]:
    """Return the rows about sweeps."""
    jobs = min(2, len(os.sched_getaffinity(0)))
    per_minute = "trials/min"
    return [
        Row(
            "overhead-small",
            "A trial's own time",
            "small_cnn",
            "s",
            {"alexlab": partial(overhead, SMALL, 15)},
            goals=[Goal("alexlab", at_most=0.5)],
        ),
        Row(
            "overhead-big",
            "A trial's own time",
            "57 million parameters",
            "s",
            {"alexlab": partial(overhead, BIG, 6)},
            goals=[Goal("alexlab", at_most=1.5)],
        ),
        Row(
            "hundred",
            "A sweep",
            "100 trials of small_cnn",
            per_minute,
            {"1 job": partial(hundred, "1"), "default": partial(hundred, "auto")},
            more_is_better=True,
            base="1 job",
            goals=[Goal("default", 1.3, "1 job")] if jobs > 1 else (),
        ),
        Row(
            "middle",
            "A sweep",
            "4 trials of AlexNet, half as wide, batch 8",
            per_minute,
            {"1 job": partial(middle, 1), "2 jobs": partial(middle, 2)},
            more_is_better=True,
            base="1 job",
            goals=[Goal("2 jobs", 1.3, "1 job")] if jobs > 1 else (),
        ),
        Row(
            "studies",
            "A study",
            "two studies with a condition in common",
            "",
            {"alexlab": two_studies},
            goals=[
                Goal("alexlab: trained twice", at_most=0),
                Goal("alexlab: decoded twice", at_most=0),
            ],
            rounds=1,
        ),
        Row(
            "six",
            "A sweep",
            "6 trials of torchvision's AlexNet, 3 epochs on 817 images of 64 px",
            "s",
            {
                BASIC: partial(hydra_six, []),
                "alexlab, 1 job": partial(our_six, 1),
                "alexlab, 2 jobs": partial(our_six, 2),
                JOBLIB: hydra_joblib_six,
                RAY: ray_six,
            },
            base=BASIC,
            goals=[Goal("alexlab, 2 jobs", 3.2, BASIC)],
            rounds=2,
            once=("alexlab, 1 job", JOBLIB, RAY),
        ),
    ]
