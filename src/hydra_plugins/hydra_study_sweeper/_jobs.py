"""The runs in flight: a thread each that waits for its launcher; told to stop, ended when late."""

import math
import os
import queue
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from hydra_plugins.hydra_study_sweeper import run_folder
from hydra_plugins.hydra_study_sweeper._trials import Record


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


@dataclass
class Flight:
    """A run in flight. Times are those of `time.monotonic`."""

    record: Record
    deadline: float
    began: float = field(default_factory=time.monotonic)
    told: bool = False  # that it shall stop: once, a second time would be "now"
    late: bool = False
    over: bool = False  # for its launcher; its folder may still be locked
    result: Any = None  # what the launcher says


class Flights(dict[int, Flight]):
    """Runs of the sweep in `folder` by number, launched one at a time through any Hydra launcher.

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
        self.timeout_s, self.grace_s = timeout_s or math.inf, grace_s
        self.stopping = False
        self._ends: queue.SimpleQueue[tuple[Flight, Any]] = queue.SimpleQueue()

    def start(self, record: Record, overrides: Sequence[str]) -> None:
        """Launch a run."""
        flight = Flight(record, deadline=time.monotonic() + self.timeout_s)
        self[record.number] = flight
        if isinstance(self.launcher, BasicLauncher):  # it runs in this very thread
            self._launch(flight, overrides)
        else:
            arguments = (flight, overrides)
            threading.Thread(target=self._launch, args=arguments, daemon=True).start()

    def _launch(self, flight: Flight, overrides: Sequence[str]) -> None:
        result: Any
        try:
            number = flight.record.number
            result = self.launcher.launch([list(overrides)], initial_job_idx=number)[0]
        except BaseException as error:
            result = error
        self._ends.put((flight, result))

    def landed(self, timeout: float) -> Flight | None:
        """A run that has ended and whose folder is free, waited for up to `timeout` seconds."""
        try:
            ended, result = self._ends.get(timeout=timeout)
            ended.over, ended.result = True, result
        except queue.Empty:
            pass
        for number, flight in self.items():
            if flight.over and not run_folder.is_locked(self.folder / flight.record.folder):
                return self.pop(number)
        return None

    def watch(self) -> None:
        """End the runs that are late; when stopping, tell those that could not be told before."""
        for flight in self.values():
            if (now := time.monotonic()) >= flight.deadline:
                self._signal(flight, signal.SIGKILL if flight.late else signal.SIGTERM)
                flight.late, flight.deadline = True, now + self.grace_s
        if self.stopping:
            self.stop()

    def stop(self) -> None:
        """Let all runs save and stop."""
        self.stopping = True
        for flight in list(self.values()):
            flight.told = flight.told or self._signal(flight, signal.SIGTERM)

    def kill(self) -> None:
        """End all runs now."""
        for flight in list(self.values()):
            self._signal(flight, signal.SIGKILL)

    def _signal(self, flight: Flight, what: signal.Signals) -> bool:
        """Send `what` to a run; whether there was a process to send it to."""
        through = getattr(self.launcher, "signal", None)
        if through is not None:
            return bool(through(flight.record.number, what))
        process = run_folder.holder(self.folder / flight.record.folder)
        if process is None or process == os.getpid():
            return False
        os.kill(process, what)
        return True
