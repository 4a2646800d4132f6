"""What a sweep costs beside its runs: `python -m benchmarks.sweep [gap|own|finished|tpe] ...`.

gap       seconds from the end of one trial to the first step of the next, for this launcher and
          for Hydra's joblib launcher in turn (`--runs`, the real entry point on generated images)
own       the sweeper's own time a trivial trial, for grids of 100, 1,000 and 10,000
finished  the whole command on a finished sweep of 1,000 trials
tpe       the sampler's own time a trial, as trials grow
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

ROOT = Path(__file__).parents[1]
PLUGINS = ROOT / "benchmarks/plugins"  # beside ours, in the same namespace
TOY = [sys.executable, "-m", "tests.sweeper.toy_app", "-m"]


def command(arguments: Sequence[str], folder: Path) -> float:
    """Run a command in `folder`; its seconds."""
    begin = time.perf_counter()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(PLUGINS)])}
    result = subprocess.run(arguments, cwd=folder, env=env, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stdout + result.stderr)
    return time.perf_counter() - begin


def gap(runs: int) -> None:
    """Trials one after the other: from a trial's metrics.json to the next one's first log line."""
    train = [
        sys.executable,
        "-m",
        "alexlab",
        "train",
        "-m",
        f"seed=range(0,{runs})",
        "sweep.n_jobs=1",
    ]
    train += ["trainer.max_epochs=1", "data.resolution=32", "data.num_images=100"]
    basic = ["hydra/sweeper=basic", "hydra/launcher=joblib", "hydra.sweep.dir=multirun/s"]
    for turn in range(2):
        for name, more in (
            ("ours, forked", []),
            ("ours, joblib", ["hydra/launcher=joblib"]),
            ("Hydra's, joblib", [*basic, "hydra.launcher.n_jobs=1"]),
        ):
            with tempfile.TemporaryDirectory() as folder:
                whole = command([*train, *more, "sweep.name=s"], Path(folder))
                print(f"{name:<16} turn {turn}: {summary(gaps(Path(folder)))}; all {whole:.1f} s")


def gaps(folder: Path) -> list[float]:
    """Seconds between one run's end and the first epoch's start of the next."""
    spans = []
    for path in folder.glob("multirun/s/*/metrics.json"):
        end = path.stat().st_mtime
        seconds = json.loads(path.read_text())["wall_s"]
        spans.append((end - seconds, end))
    spans.sort()
    return [start - end for (_, end), (start, _) in pairwise(spans)]


def summary(values: Sequence[float]) -> str:
    """Median and range."""
    return (
        f"median {median(values):.2f} s ({min(values):.2f} to {max(values):.2f}, n={len(values)})"
    )


def own(sizes: Sequence[int]) -> None:
    """Time a grid of trials that cost nothing: all that is left is the sweeper's time."""
    start = 0.0  # Python, Hydra and Optuna, which a sweep of one trial pays too
    for size in (1, *sizes):
        with tempfile.TemporaryDirectory() as folder:
            arguments = [*TOY, f"seed=range(0,{size})", "sweep.name=s", "hydra/launcher=nothing"]
            seconds = command(arguments, Path(folder))
            start = start or seconds
            each = 1000 * (seconds - start) / size
            print(f"{size:>6} trials: {seconds:.1f} s, {each:.1f} ms per trial beside the start")


def finished(size: int) -> None:
    """Time the same command again on a finished sweep."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [*TOY, f"seed=range(0,{size})", "sweep.name=s", "hydra/launcher=nothing"]
        command(arguments, Path(folder))
        times = [command(arguments, Path(folder)) for _ in range(3)]
        print(f"{size} trials, nothing to do: {', '.join(f'{t:.2f}' for t in times)} s")


def tpe(sizes: Sequence[int]) -> None:
    """Ask and tell of a seeded TPE, by the number of trials there are."""
    import optuna
    from optuna.distributions import FloatDistribution

    from hydra_plugins.hydra_study_sweeper._samplers import make_sampler

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    space = {"lr": FloatDistribution(1e-5, 1.0, log=True), "momentum": FloatDistribution(0, 1)}
    times: list[float] = []
    for number in range(max(sizes)):
        begin = time.perf_counter()
        study.sampler = make_sampler("tpe", 0, number)
        trial = study.ask(space)
        study.tell(trial, (trial.params["lr"] - 0.01) ** 2 + trial.params["momentum"])
        times.append(time.perf_counter() - begin)
        if number + 1 in sizes:
            print(f"{number + 1:>6} trials: {1000 * mean(times[-50:]):.1f} ms a trial")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["gap", "own", "finished", "tpe"])
    parser.add_argument("--runs", type=int, default=6)
    options = parser.parse_args()
    if "own" in options.what:
        own((100, 1_000, 10_000))
    if "finished" in options.what:
        finished(1_000)
    if "tpe" in options.what:
        tpe((10, 100, 300, 1_000, 2_000))
    if "gap" in options.what:
        gap(options.runs)


if __name__ == "__main__":
    main()
