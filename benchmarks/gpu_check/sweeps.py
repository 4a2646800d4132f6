"""Run sweeps with the command line: parallel trials, interruption, spawned processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import names
from benchmarks.gpu_check.context import ROOT, Context, Result
from benchmarks.gpu_check.training import Done, command, shapes

TRIALS = 4


def settings(context: Context, name: str, *more: str, epochs: int = 0) -> list[str]:
    """Return the arguments of a sweep over seeds; each trial takes a few seconds."""
    size = context.pick(
        [*shapes(1000, 64), "model=alexnet", f"trainer.max_epochs={epochs or 20}"],
        [*shapes(100), f"trainer.max_epochs={epochs or 2}"],
    )
    folder = context.run_dir(name)
    places = [f"cache_dir={context.work}/cache", f"hydra.sweep.dir={folder}"]
    return ["-m", *places, *size, f"seed=range(0,{TRIALS})", *more]


def trials(folder: Path) -> list[dict[str, Any]]:
    """Return metrics.json of each trial, with the times of its start and end."""
    found = []
    for path in sorted(folder.glob("**/metrics.json")):
        metrics = json.loads(path.read_text())
        end = path.stat().st_mtime
        found.append({**metrics, "start": end - (metrics.get("wall_s") or 0), "end": end})
    return found


def most_at_once(found: list[dict[str, Any]]) -> int:
    """Return the largest number of trials that ran at the same time."""
    starts = [trial["start"] for trial in found]
    return max((sum(t["start"] <= at < t["end"] for t in found) for at in starts), default=0)


def report(context: Context, name: str, done: Done, at_once: range) -> Iterator[Result]:
    """Check a finished sweep: all trials have finished, on the device, `at_once` at a time."""
    folder = context.run_dir(name)
    found = trials(folder)
    finished = [trial for trial in found if trial["status"] == "finished"]
    if done.code or len(finished) != TRIALS:
        text = f"exit code {done.code}, {len(finished)} of {TRIALS} finished: {done.end}"
        yield Result(name, False, text)
        return
    hardware = {trial[names.HARDWARE] for trial in found}
    on_device = all(text.startswith("cpu") != context.on_gpu for text in hardware)
    logs = "".join(path.read_text(errors="replace") for path in folder.glob("**/train.log"))
    clean = "re-initialize CUDA" not in logs
    seen = most_at_once(found)
    between = (max(t["end"] for t in found) - min(t["start"] for t in found)) / TRIALS
    text = f"{seen} at a time, {done.seconds:.1f} s in all, {60 / between:.1f} trials per minute"
    text += f", on {', '.join(sorted(hardware))}"
    numbers = {"trials": found}
    yield Result(name, on_device and clean and seen in at_once, text, numbers)
    if at_once == range(1, 2):  # one trial after the other: measure the pauses
        ordered = sorted(found, key=lambda trial: trial["start"])
        pauses = [b["start"] - a["end"] for a, b in pairwise(ordered)]
        text = f"{max(pauses):.2f} s between two trials at most (limit 3 s)"
        yield Result(f"{name}.start", max(pauses) < context.pick(3, 6), text)


def one_at_a_time(context: Context) -> Iterator[Result]:
    """Run a sweep one trial at a time, which is the default on one GPU."""
    jobs = context.pick([], ["sweep.n_jobs=1"])  # without a GPU the default is one per CPU
    done = command(names.CLI, *settings(context, "sweep.default"), *jobs, timeout=110)
    yield from report(context, "sweep.default", done, range(1, 2))


def several_at_a_time(context: Context) -> Iterator[Result]:
    """Run four trials on the GPU at a time, or two on the CPU."""
    more = context.pick(f"{names.JOBS_PER_GPU}=4", f"{names.N_JOBS}=2")
    done = command(names.CLI, *settings(context, "sweep.shared", more), timeout=110)
    yield from report(context, "sweep.shared", done, range(2, 5))


def limited(context: Context) -> Iterator[Result]:
    """Run a sweep with n_jobs=4; the limit `jobs_per_gpu` must allow one trial at a time."""
    more = f"{names.N_JOBS}=4"
    done = command(names.CLI, *settings(context, "sweep.limited", more, epochs=8), timeout=110)
    yield from report(context, "sweep.limited", done, range(1, 2))


def with_mps(context: Context) -> Iterator[Result]:
    """Run four trials at a time with NVIDIA's MPS daemon, started for this check only."""
    pipe, logs = context.work / "mps", context.work / "logs"
    pipe.mkdir()
    places = {"CUDA_MPS_PIPE_DIRECTORY": str(pipe), "CUDA_MPS_LOG_DIRECTORY": str(logs)}
    daemon = ["nvidia-cuda-mps-control"]
    environment = {**os.environ, **places}
    try:
        started = subprocess.run(
            [*daemon, "-d"], env=environment, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Result("sweep.mps", True, f"not measured: {error}")
        return
    if started.returncode:
        yield Result("sweep.mps", True, f"not measured: {started.stdout}{started.stderr}")
        return
    try:
        words = settings(context, "sweep.mps", f"{names.JOBS_PER_GPU}=4")
        done = command(names.CLI, *words, timeout=60, environment=places)
        yield from report(context, "sweep.mps", done, range(2, 5))
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(daemon, input="quit\n", text=True, env=environment, timeout=10)


def spawned(context: Context) -> Iterator[Result]:
    """Run a sweep whose trials are spawned, not forked."""
    words = settings(context, "sweep.spawn", f"{names.START_METHOD}=spawn", epochs=1)
    words += context.pick([f"{names.JOBS_PER_GPU}=4"], [f"{names.N_JOBS}=2"])
    done = command(names.CLI, *words, timeout=110)
    yield from report(context, "sweep.spawn", done, range(1, 5))


def interrupted(context: Context) -> Iterator[Result]:
    """Stop a sweep with Ctrl-C and run it again; finished trials must not train twice."""
    folder = context.run_dir("sweep.interrupted")
    words = settings(context, "sweep.interrupted", epochs=context.pick(20, 4))
    with subprocess.Popen(
        [sys.executable, "-m", names.CLI, *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        end = time.monotonic() + 80
        while not trials(folder) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        try:
            code = process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            yield Result("sweep.interrupted", False, "it has not ended 40 s after Ctrl-C")
            return
    before = {trial["seed"]: trial["end"] for trial in trials(folder) if is_finished(trial)}
    done = command(names.CLI, *words, timeout=100)
    after = {trial["seed"]: trial["end"] for trial in trials(folder) if is_finished(trial)}
    kept = all(after.get(seed) == end for seed, end in before.items())
    ok = kept and len(after) == TRIALS and done.code == 0 and 0 < len(before) < TRIALS
    text = f"exit code {code} with {len(before)} finished, then {len(after)} of {TRIALS}"
    yield Result("sweep.interrupted", ok, text + ("" if ok else f": {done.end}"))


def is_finished(trial: dict[str, Any]) -> bool:
    """Return whether a trial has finished."""
    return bool(trial["status"] == "finished")
