"""Repeat a finished run and compare the results to the bit.

First print the differences in commit, versions, hardware and data. Then train the run in a new
folder, and compare weights, metrics and history.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alexlab.runs import config as run_config
from alexlab.runs.folder import BEST, RANK_0_FOLDER, RunFolder, read_history, read_metrics
from alexlab.runs.stop_signals import StopSignals

UNTIMED = {"seconds"}  # columns of history.csv that differ in every run
NAMED = 5  # number of differences to print


def rerun(old: Path, new: Path) -> bool:
    """Train the run in `old` again in the new folder `new`, and print the differences.

    Returns:
        Whether weights, metrics and history are equal to the bit.

    Raises:
        FileNotFoundError: If `old` is not a run folder.
        ValueError: If the run has not finished, its config is not trusted, or `new` exists.
    """
    cfg = run_config.read(old)
    before = read_metrics(old)
    if before is None or before["status"] != "finished":
        raise ValueError(f"{old}: this run has not finished; name a finished one")
    cfg.resume = None
    run_config.find_moved_data(cfg)

    from alexlab.training.run import TrainingRun  # torch takes seconds

    if int(os.environ.get("LOCAL_RANK", 0)):  # another rank of a run on several devices
        TrainingRun(cfg, Path(os.environ[RANK_0_FOLDER]), {}, trial=True).run()
        return True
    if new.exists():
        raise ValueError(f"{new} exists: --into takes the name of a new folder")
    os.environ[RANK_0_FOLDER] = str(new.absolute())
    with StopSignals() as signals, RunFolder(new, keep=True, on_closed=signals.stop) as run:
        training = TrainingRun(cfg, new, run.record, trial=True, signals=signals)
        run.obsolete = training.checkpoints.obsolete
        run.record |= training.environment()
        for line in changed_surroundings(before, run.record):
            print(line)
        training.run()
    now = run.record
    differ = list(differences(old, new, before, now))
    print(f"\n{new} is {'not the same as' if differ else 'the same to the bit as'} {old}")
    counted = f"the weights, {len(now['metrics'])} metrics, {now['epochs']} epochs of history"
    for line in differ or [counted]:
        print(f"  {line}")
    return not differ


def changed_surroundings(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line per difference in commit, versions, hardware and data."""
    then = run_config.flatten(before)
    for key, value in run_config.flatten(now).items():
        if then.get(key) != value:
            yield f"changed: {key} {then.get(key)} -> {value}"


def differences(
    old: Path, new: Path, then: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[str]:
    """Yield one line per kind of difference in the results of two finished runs."""
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


def _values(title: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    both = [name for name in then if name in now and name not in UNTIMED]
    names = [name for name in both if str(then[name]) != str(now[name])]
    if names:
        shown = [f"{name} {then[name]} -> {now[name]}" for name in names[:NAMED]]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield f"{title}: {', '.join(shown)}{more}"


def _weights(old: Path, new: Path, same_checksum: bool) -> Iterator[str]:
    """Yield the largest difference of the best weights; compare checksums if they are deleted."""
    import torch

    from alexlab.runs.checkpoint import load

    if not (old / BEST).exists():
        if not same_checksum:
            yield f"weights: another checksum (the weights of {old} were deleted)"
        return
    a, b = (load(run / BEST, mmap=True)["net"] for run in (old, new))
    if a.keys() != b.keys():
        yield "weights: another network"
    elif not all(torch.equal(a[name], b[name]) for name in a):
        apart = {name: float((a[name].double() - b[name].double()).abs().max()) for name in a}
        name = max(apart, key=lambda name: apart[name])
        yield f"weights: they differ by up to {apart[name]:.3g}, in {name}"
