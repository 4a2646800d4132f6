"""Repeats a run and says whether the result is the same: `alexlab rerun RUN_DIR`.

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

from alexlab.commands.train import RANK_0_FOLDER
from alexlab.errors import user_errors
from alexlab.runs import config as run_config
from alexlab.runs.folder import BEST, RunFolder, read_history, read_metrics

UNTIMED = {"seconds"}  # a column of history.csv that no two runs share
NAMED = 5  # differences told by name


def rerun(old: Path, new: Path) -> bool:
    """Train the run in `old` again, in `new`; whether the result is the same, which is printed.

    Raises:
        FileNotFoundError: `old` is no run folder.
        ValueError: It has not finished, its config is not to be trusted, or `new` exists.
    """
    cfg = run_config.read(old)
    before = read_metrics(old)
    if before is None or before["status"] != "finished":
        raise ValueError(f"{old} cannot be compared with: it has not finished")
    cfg.resume = None

    from alexlab.training.run import TrainingRun

    if int(os.environ.get("LOCAL_RANK", 0)):  # of a run on several devices
        TrainingRun(cfg, Path(os.environ[RANK_0_FOLDER]), {}, trial=True).run()
        return True
    if new.exists():
        raise ValueError(f"{new} exists: --into takes the name of a new folder")
    os.environ[RANK_0_FOLDER] = str(new.absolute())
    with RunFolder(new, keep=True) as run:
        training = TrainingRun(cfg, new, run.record, trial=True)
        run.record |= training.environment()
        for line in unlike(before, run.record):
            print(line)
        training.run()
    now = run.record
    differ = list(differences(old, new, before, now))
    print(f"\n{new} is {'not the same as' if differ else 'the same to the bit as'} {old}")
    counted = f"the weights, {len(now['metrics'])} metrics, {now['epochs']} epochs of history"
    for line in differ or [counted]:
        print(f"  {line}")
    return not differ


def unlike(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it was, a line each."""
    then = run_config.flatten(before)
    for key, value in run_config.flatten(now).items():
        if then.get(key) != value:
            yield f"not as it was: {key} {then.get(key)} -> {value}"


def differences(
    old: Path, new: Path, then: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[str]:
    """In what two finished runs differ, by their folders and records, and by how much."""
    yield from _weights(old, new, then.get("best_sha256") == now["best_sha256"])
    metrics = [{**record["metrics"], "best epoch": record["best_epoch"]} for record in (then, now)]
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


def _weights(old: Path, new: Path, same_checksum: bool) -> Iterator[str]:
    """By how much the best weights differ; where the old are not kept, their checksum tells."""
    import torch

    from alexlab.runs.checkpoint import load

    if not (old / BEST).exists():
        if not same_checksum:
            yield f"weights: another checksum (those of {old} were not kept)"
        return
    a, b = (load(run / BEST, mmap=True)["net"] for run in (old, new))
    if a.keys() != b.keys():
        yield "weights: another network"
    elif not all(torch.equal(a[name], b[name]) for name in a):
        apart = {name: float((a[name].double() - b[name].double()).abs().max()) for name in a}
        name = max(apart, key=lambda name: apart[name])
        yield f"weights: they differ by up to {apart[name]:.3g}, in {name}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="alexlab rerun",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a finished run's folder")
    parser.add_argument("--into", type=Path, help="the new folder; in multirun/single by default")
    options = parser.parse_args()
    into = options.into or Path("multirun/single", f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")
    with user_errors():
        sys.exit(0 if rerun(options.run, into) else 1)


if __name__ == "__main__":
    main()
