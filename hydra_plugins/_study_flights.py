"""The runs in flight: a thread each that waits for its launcher; told to stop, ended when late."""

import os
import queue
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from hydra_plugins import _study_folder as folders
from hydra_plugins._study_ledger import Record


def prepare(launcher: Launcher, jobs: int | None) -> int:
    """Make `launcher` ready to be called from several threads; how many jobs it shall run."""
    if isinstance(launcher, BasicLauncher):
        return 1
    if (cfg := getattr(launcher, "ray_cfg", None)) is not None:  # each thread would start a cluster
        import ray

        if not ray.is_initialized():
            settings: Any = OmegaConf.to_container(cfg.init, resolve=True)
            ray.init(**{"object_store_memory": 78_643_200, **settings})
    if (pool := getattr(launcher, "joblib", None)) is not None:  # of one, it would be this process
        pool["n_jobs"] = max(2, jobs or 1)
    own = getattr(launcher, "prepare", None)
    return int(own(jobs)) if own is not None else jobs or 1


class Flights:
    """Runs of the sweep in `folder`, launched one at a time through any Hydra launcher.

    Args:
        launcher: Called from several threads, one job each; one with `signal(number, signal)` is
            asked to pass signals on, else they go to whoever holds the lock of the run's folder.
        folder: The sweep's folder.
        timeout_s: How long a run may take, if that is limited.
        grace_s: Seconds between a timeout's SIGTERM and its SIGKILL.
    """

    def __init__(
        self, launcher: Launcher, folder: Path, timeout_s: float | None, grace_s: float
    ) -> None:
        self.launcher, self.folder = launcher, folder
        self.timeout_s, self.grace_s = timeout_s, grace_s
        self.records: dict[int, Record] = {}
        self.began: dict[int, float] = {}
        self.stopping = False
        self._deadlines: dict[int, float] = {}
        self._told: set[int] = set()  # that they shall stop: once, a second time would be "now"
        self._late: set[int] = set()
        self._ends: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self._blocked: dict[int, Any] = {}  # ended for their launcher, but their folder is locked

    def __len__(self) -> int:
        """How many runs are in flight."""
        return len(self.records)

    def start(self, record: Record, overrides: Sequence[str]) -> None:
        """Launch a run."""
        number = record.number
        self.records[number], self.began[number] = record, time.monotonic()
        if self.timeout_s is not None:
            self._deadlines[number] = self.began[number] + self.timeout_s
        if isinstance(self.launcher, BasicLauncher):  # it runs in this very thread
            self._wait_for(number, overrides)
        else:
            arguments = (number, overrides)
            threading.Thread(target=self._wait_for, args=arguments, daemon=True).start()

    def _wait_for(self, number: int, overrides: Sequence[str]) -> None:
        result: Any
        try:
            result = self.launcher.launch([list(overrides)], initial_job_idx=number)[0]
        except BaseException as error:
            result = error
        self._ends.put((number, result))

    def landed(self, timeout: float) -> tuple[Record, Any, bool] | None:
        """A run that has ended, what its launcher says, and whether it was too late; or None."""
        try:
            number, result = self._ends.get(timeout=timeout)
            self._blocked[number] = result
        except queue.Empty:
            pass
        for number, result in self._blocked.items():
            record = self.records[number]
            if not folders.is_locked(self.folder / record.folder):
                late = number in self._late
                self._forget(number)
                return record, result, late
        return None

    def _forget(self, number: int) -> None:
        for known in (self._blocked, self.records, self.began, self._deadlines):
            known.pop(number, None)
        self._late.discard(number)
        self._told.discard(number)

    def watch(self) -> None:
        """End the runs that are late; when stopping, tell those that could not be told before."""
        now = time.monotonic()
        for number, deadline in self._deadlines.items():
            if now >= deadline:
                again = number in self._late
                self._late.add(number)
                self._signal(self.records[number], signal.SIGKILL if again else signal.SIGTERM)
                self._deadlines[number] = now + self.grace_s
        if self.stopping:
            self.stop()

    def stop(self) -> None:
        """Let all runs save and stop."""
        self.stopping = True
        for number, record in list(self.records.items()):
            if number not in self._told and self._signal(record, signal.SIGTERM):
                self._told.add(number)

    def kill(self) -> None:
        """End all runs now."""
        for record in list(self.records.values()):
            self._signal(record, signal.SIGKILL)

    def _signal(self, record: Record, what: signal.Signals) -> bool:
        """Send `what` to a run; whether there was a process to send it to."""
        through = getattr(self.launcher, "signal", None)
        if through is not None:
            return bool(through(record.number, what))
        process = folders.holder(self.folder / record.folder)
        if process is None or process == os.getpid():
            return False
        os.kill(process, what)
        return True
