"""Run each check in its own process, with a time limit per check and a budget for all.

Like the trials of a sweep, the processes are forked from a parent that has imported torch and has
not started CUDA, so that a check starts quickly.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.context import Check, Context, Report, Result

MARK = "GPU_CHECK_MARK"  # in the environment of all processes that a check starts
TAIL = 4000  # characters of a failed check's log in the report


def run_checks(
    checks: Sequence[Check],
    context: Context,
    report: Report,
    *,
    budget_s: float,
    slots: int,
    patience: float = 1.0,
    preload: Sequence[str] = (),
) -> None:
    """Run `checks` in order, up to `slots` at a time; skip the rest after the budget is spent.

    The time limit of each check is multiplied by `patience`.
    """
    method = multiprocessing.get_context("forkserver")
    method.set_forkserver_preload(list(preload))
    end = time.monotonic() + budget_s
    waiting, running = list(checks), list[_Running]()
    while waiting or running:
        while (check := _next(waiting, running, slots)) is not None:
            waiting.remove(check)
            left = end - time.monotonic()
            if left < check.needs_s:
                report.skip(check.name, f"{max(left, 0):.0f} s of the budget are left")
            else:
                running.append(
                    _Running(method, check, context, min(patience * check.limit_s, left))
                )
        _wait(running)
        for job in [job for job in running if job.poll(report)]:
            running.remove(job)
            if job.check.required and job.failed:
                for check in waiting:
                    report.skip(check.name, f"{job.check.name} failed")
                waiting.clear()


def _next(waiting: Sequence[Check], running: "Sequence[_Running]", slots: int) -> Check | None:
    """Return the first check that may start now; None if there is none."""
    foreground = [job for job in running if not job.check.background]
    unfinished = {other.name for other in [*waiting, *(job.check for job in running)]}
    for check in waiting:
        if check.after in unfinished:
            continue
        busy = len(foreground) >= (1 if check.alone else slots)
        busy = busy or any(job.check.alone for job in foreground)
        return check if check.background or not busy else None
    return None


def _wait(running: "Sequence[_Running]") -> None:
    """Wait until a check reports or ends, or its time limit is reached."""
    if running:
        until = min(job.deadline for job in running) - time.monotonic()
        wait([part for job in running for part in job.waited_for()], max(0.0, until))


class _Running:
    """Run a check in a child process."""

    def __init__(self, method: Any, check: Check, context: Context, limit_s: float) -> None:
        self.check, self.limit_s = check, limit_s
        self.log = context.work / "logs" / f"{check.name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.mark = f"{os.getpid()}-{check.name}"
        self.connection, childs = method.Pipe(duplex=False)
        arguments = (check, context, childs, self.log, self.mark)
        self.process = method.Process(target=_in_process, args=arguments)
        self.process.start()
        childs.close()
        self.started = time.monotonic()
        self.deadline = self.started + limit_s
        self.count, self.open, self.failed = 0, True, False

    def waited_for(self) -> list[Any]:
        """Return the objects to wait for: the process's sentinel, and the connection if open."""
        return [self.process.sentinel, *([self.connection] if self.open else [])]

    def poll(self, report: Report) -> bool:
        """Report the results received so far; return whether the check has ended."""
        self._receive(report)
        if self.process.is_alive():
            if time.monotonic() < self.deadline:
                return False
            self._kill()
            self._add(report, Result(self.check.name, False, f"over {self.limit_s:.0f} s: killed"))
        else:
            self._receive(report)
            self._kill()  # processes that it may have left
            if code := self.process.exitcode:
                self._add(report, Result(self.check.name, False, f"the process ended with {code}"))
            elif not self.count:
                self._add(report, Result(self.check.name, False, "nothing was checked"))
        self.process.join()
        self.connection.close()
        return True

    def _receive(self, report: Report) -> None:
        with contextlib.suppress(EOFError, OSError):
            while self.open and self.connection.poll():
                try:
                    self._add(report, self.connection.recv())
                except EOFError:
                    self.open = False

    def _add(self, report: Report, result: Result) -> None:
        self.count += 1
        self.failed |= not result.ok
        more: dict[str, Any] = {"seconds": round(time.monotonic() - self.started, 1)}
        if not result.ok and self.log.exists():
            more["log"] = self.log.read_text(errors="replace")[-TAIL:]
        report.add(result, **more)

    def _kill(self) -> None:
        """Kill the process and all processes that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            if self.process.is_alive():
                self.process.kill()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError, ValueError):
                if f"{MARK}={self.mark}".encode() in path.read_bytes().split(b"\0"):
                    os.kill(int(path.parent.name), signal.SIGKILL)
        self.process.join(10)


def _in_process(
    check: Check, context: Context, connection: Connection, log: Path, mark: str
) -> None:
    """Run `check` and send its results; send an exception as a failed result."""
    os.setsid()
    os.environ[MARK] = mark
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    try:
        for result in check.load()(context):
            print(f"--- {result.name} {'ok' if result.ok else 'FAIL'} {result.value}")
            connection.send(result)
    except BaseException as error:
        traceback.print_exc()
        said = " ".join(str(error).split())[:300]
        connection.send(Result(check.name, False, f"{type(error).__name__}: {said}"))
    connection.close()


@dataclass
class Timer:
    """Measure the seconds of a block."""

    seconds: float = 0.0

    def __enter__(self) -> "Timer":  # noqa: D105
        self._start = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:  # noqa: D105
        self.seconds = time.perf_counter() - self._start
