"""Repeats a run and says whether the result is the same: `python -m src.rerun RUN_DIR`.

First it says what is not as it was: commit, versions, machine, data. Then it trains in a new folder
and compares weights, metrics and history. The exit code is 0 only when they are equal to the bit.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from src import run_config
from src.errors import in_short
from src.run_folder import BEST, RunFolder, Stopped, read_history, read_metrics
from src.train import RANK_0_FOLDER

UNTIMED = {"seconds"}  # a column of history.csv that no two runs share
NAMED = 5  # differences told by name


def rerun(old: Path, new: Path) -> bool:
    """Train the run in `old` again, in `new`; whether the result is the same, which is printed.

    Raises:
        FileNotFoundError: `old` is no run folder.
        ValueError: It has not finished, or its config is not to be trusted.
    """
    cfg = run_config.read(old)
    before = read_metrics(old) or {}
    if before.get("status") != "finished":
        raise ValueError(f"{old} cannot be compared with: it has not finished")
    cfg.resume = None

    from src.training import Training

    if int(os.environ.get("LOCAL_RANK", 0)):  # of a run on several devices
        Training(cfg, Path(os.environ[RANK_0_FOLDER]), {}, trial=True).run()
        return True
    os.environ[RANK_0_FOLDER] = str(new.absolute())
    with RunFolder(new, keep=True) as run:
        training = Training(cfg, new, run.record, trial=True)
        run.record |= training.surroundings()
        for line in unlike(before, run.record):
            print(line)
        training.run()
    differ = list(differences(old, new))
    print(f"\n{new} is {'not the same as' if differ else 'the same to the bit as'} {old}")
    for line in differ or [_counted(new)]:
        print(f"  {line}")
    return not differ


def unlike(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it was, a line each."""
    flat = [run_config.flat({key: side.get(key) for key in now}) for side in (before, now)]
    for key in flat[1]:
        if flat[0].get(key) != flat[1][key]:
            yield f"not as it was: {key} {flat[0].get(key)} -> {flat[1][key]}"


def differences(old: Path, new: Path) -> Iterator[str]:
    """In what two finished runs differ, and by how much; a line each."""
    then, now = ({**(read_metrics(run) or {})} for run in (old, new))
    yield from _weights(old, new, then, now)
    metrics = [{**m.get("metrics", {}), "best epoch": m.get("best_epoch")} for m in (then, now)]
    yield from _values("metrics", *metrics)
    rows = [read_history(run) for run in (old, new)]
    if len(rows[0]) != len(rows[1]):
        yield f"history: {len(rows[0])} epochs -> {len(rows[1])}"
    for a, b in zip(*rows, strict=False):
        if lines := list(_values(f"history, from epoch {a['epoch']} on", a, b)):
            yield lines[0]
            return


def _values(what: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    names = [n for n in {**then, **now} if n not in UNTIMED and str(then.get(n)) != str(now.get(n))]
    if names:
        shown = [f"{name} {then.get(name)} -> {now.get(name)}" for name in names[:NAMED]]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield f"{what}: {', '.join(shown)}{more}"


def _weights(
    old: Path, new: Path, then: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[str]:
    """By how much the best weights differ; by their checksum where the old are not kept."""
    import torch

    from src.checkpoint_io import load

    if not (old / BEST).exists():
        if then.get("best_sha256") != now.get("best_sha256"):
            yield f"weights: another checksum (those of {old} were not kept)"
        return
    a, b = (load(run / BEST, mmap=True)["net"] for run in (old, new))
    if a.keys() != b.keys():
        yield "weights: another network"
        return
    apart = {name: float((a[name].double() - b[name].double()).abs().max()) for name in a}
    if not all(torch.equal(a[name], b[name]) for name in a):
        name = max(apart, key=lambda name: apart[name])
        yield f"weights: they differ by up to {apart[name]:.3g}, in {name}"


def _counted(run: Path) -> str:
    metrics = read_metrics(run) or {}
    epochs = len(read_history(run))
    return f"the weights, {len(metrics['metrics'])} metrics, {epochs} epochs of history"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m src.rerun",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a finished run's folder")
    parser.add_argument("--into", type=Path, help="the new folder; in multirun/single by default")
    options = parser.parse_args()
    into = options.into or Path("multirun/single", f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")
    try:
        same = rerun(options.run, into)
    except Stopped as stop:
        sys.exit(stop.exit_code)
    except Exception as error:
        print(f"error: {in_short(error)}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
