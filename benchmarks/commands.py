"""Measure commands that train nothing, and how soon a training prints its first line."""

import os
import pty
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.process import ALEXLAB, PYTHON, ROOT, environment, run
from benchmarks.table import Goal, Options, Row

ONE = [*ALEXLAB, "train", "data.resolution=32", "data.num_images=100", "trainer.max_epochs=1"]


def seconds(command: Sequence[str], options: Options) -> float:
    """Run a command, and return its seconds."""
    return run(command, ROOT)[0]


def first_line(command: Sequence[str], terminal: bool, options: Options) -> float:
    """Return the seconds until a command writes its first byte, to a terminal or to a pipe."""
    with tempfile.TemporaryDirectory() as folder:
        ends = pty.openpty() if terminal else os.pipe()
        begin = time.perf_counter()
        own: dict[str, Any] = {"stdout": ends[1], "stderr": ends[1], "env": environment()}
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, **own)
        os.close(ends[1])
        os.read(ends[0], 1)
        found = time.perf_counter() - begin
        try:
            while os.read(ends[0], 1 << 16):
                pass
        except OSError:  # the process has closed the terminal
            pass
        os.close(ends[0])
        process.wait()
        return found


@contextmanager
def finished(trials: int, *, real: bool):
    """Run a sweep; yield its command and the folder in which it ran.

    The trials train only with `real`.
    """
    command = [*ALEXLAB, "train", "-m", "data.resolution=32", "sweep.name=s"]
    command += ["optim.lr=0.1,0.05,0.02,0.01", f"seed=range(0,{max(1, trials // 4)})"]
    if real:
        command[-2:] = [f"seed=range(0,{trials})", "data.num_images=100", "trainer.max_epochs=1"]
    else:
        command += ["hydra/launcher=nothing"]  # of benchmarks/plugins: jobs end at once
    with tempfile.TemporaryDirectory() as folder:
        run(command, Path(folder))
        yield command, Path(folder)


def again(trials: int, real: bool, options: Options) -> float:
    """Return the seconds that the command of a finished sweep takes when it is repeated."""
    with finished(20 if options.quick else trials, real=real) as (command, folder):
        return run(command, folder)[0]


def report(trials: int, options: Options) -> float:
    """Return the seconds of `alexlab report` for a finished sweep."""
    with finished(20 if options.quick else trials, real=False) as (_, folder):
        return run([*ALEXLAB, "report", "multirun/s"], folder)[0]


def rows() -> list[Row]:
    """Return the rows about commands."""
    group = "An answer"
    return [
        Row(
            "help",
            group,
            "--help",
            "s",
            {
                "alexlab --help": partial(seconds, [*ALEXLAB, "--help"]),
                "python -m src.train --help": partial(
                    seconds, [PYTHON, "-m", "src.train", "--help"]
                ),
            },
            goals=[
                Goal("alexlab --help", at_most=0.7),
                Goal("python -m src.train --help", at_most=0.7),
            ],
        ),
        Row(
            "first-line",
            group,
            "the first line of a run",
            "s",
            {
                "on a terminal": partial(first_line, ONE, True),
                "in a pipe": partial(first_line, ONE, False),
            },
            goals=[Goal("on a terminal", at_most=0.3)],
        ),
        Row(
            "finished",
            group,
            "the same command on a finished sweep",
            "s",
            {"6 trials": partial(again, 6, True), "1,000 trials": partial(again, 1000, False)},
            goals=[Goal("6 trials", at_most=1.5), Goal("1,000 trials", at_most=1.5)],
        ),
        Row(
            "report",
            group,
            "alexlab report",
            "s",
            {"1,000 trials": partial(report, 1000)},
        ),
    ]
