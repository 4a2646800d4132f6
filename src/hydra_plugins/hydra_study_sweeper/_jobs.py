"""Run jobs, each in a thread that waits for its launcher; stop, kill and time them out."""

import math
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from hydra_plugins.hydra_process_launcher.hydra_internals import is_basic_launcher
from hydra_plugins.hydra_study_sweeper import run_folder
from hydra_plugins.hydra_study_sweeper._trials import Trial
from hydra_plugins.hydra_study_sweeper.config import AUTO


def prepare_launcher(
    launcher: Launcher, n_jobs: int | str | None, cpu_jobs: Callable[[], int] = lambda: 1
) -> int:
    """Prepare `launcher` for calls from several threads; return how many jobs it runs at a time.

    Args:
        launcher: Any Hydra launcher.
        n_jobs: Jobs at a time; None for its slots; auto for its slots, or `cpu_jobs` without GPUs.
        cpu_jobs: Returns the jobs at a time on CPUs; only a launcher with `prepare` calls it.
    """
    prepare = getattr(launcher, "prepare", None)
    if n_jobs == AUTO:
        if prepare is not None:
            return int(prepare(None, cpu_jobs))
        n_jobs = None
    n_jobs = cast("int | None", n_jobs)
    if is_basic_launcher(launcher):
        return 1
    if (cfg := getattr(launcher, "ray_cfg", None)) is not None:  # each thread would start a cluster
        import ray

        if not ray.is_initialized():
            settings: Any = OmegaConf.to_container(cfg.init, resolve=True)
            # 75 MiB is the least that Ray allows
            ray.init(**{"object_store_memory": 78_643_200, **settings})
    if (pool := getattr(launcher, "joblib", None)) is not None:
        pool["n_jobs"] = max(2, n_jobs or 1)  # with n_jobs=1 joblib would run it in this process
    return int(prepare(n_jobs)) if prepare is not None else n_jobs or 1


@dataclass
class Job:
    """A running trial. Times are those of `time.monotonic`.

    Attributes:
        deadline: When it is stopped; after that stop, when it is killed.
        stop_requested: It was asked to stop. It is asked once; a second signal would kill it.
        timed_out: It ran longer than `timeout_s`.
        done: Its launcher has returned. Its folder may still be locked.
        result: The JobReturn that its launcher has returned, or the error that it raised.
    """

    trial: Trial
    deadline: float
    started: float = field(default_factory=time.monotonic)
    stop_requested: bool = False
    timed_out: bool = False
    done: bool = False
    result: Any = None


class JobPool(dict[int, Job]):
    """The running jobs of a sweep by trial number; each has its own call of the launcher.

    Args:
        launcher: Any Hydra launcher. It is called from several threads, with one job each. If it
            has a method `signal(number, signal)`, signals go through it; otherwise they go to the
            process that holds the lock of the run's folder.
        folder: The sweep's folder.
        timeout_s: How long a job may run; None for no limit.
        grace_s: Seconds between a timeout's SIGTERM and its SIGKILL.
    """

    def __init__(
        self, launcher: Launcher, folder: Path, timeout_s: float | None, grace_s: float
    ) -> None:
        self.launcher, self.folder = launcher, folder
        self.timeout_s, self.grace_s = timeout_s or math.inf, grace_s
        self.stopping = False
        self._done: queue.SimpleQueue[tuple[Job, Any]] = queue.SimpleQueue()

    def submit(self, trial: Trial, overrides: Sequence[str]) -> None:
        """Launch a trial; Hydra's basic launcher returns when it has ended, any other at once."""
        job = Job(trial, deadline=time.monotonic() + self.timeout_s)
        self[trial.number] = job
        if is_basic_launcher(self.launcher):  # it runs in this thread
            self._launch(job, overrides)
        else:
            arguments = (job, overrides)
            threading.Thread(target=self._launch, args=arguments, daemon=True).start()

    def _launch(self, job: Job, overrides: Sequence[str]) -> None:
        """Run a job through the launcher, and put its result into the queue."""
        result: Any
        try:
            number = job.trial.number
            result = self.launcher.launch([list(overrides)], initial_job_idx=number)[0]
        except BaseException as error:
            result = error
        self._done.put((job, result))

    def wait_any(self, timeout: float) -> Job | None:
        """Return a job that is done and whose folder is unlocked; wait up to `timeout` seconds."""
        try:
            done, result = self._done.get(timeout=timeout)
            done.done, done.result = True, result
        except queue.Empty:
            pass
        for number, job in self.items():
            if job.done and not run_folder.is_locked(self.folder / job.trial.folder):
                return self.pop(number)
        return None

    def check_timeouts(self) -> None:
        """Stop jobs past their deadline; while stopping, ask those that had no process before."""
        for job in self.values():
            if (now := time.monotonic()) >= job.deadline:
                self._send(job, signal.SIGKILL if job.timed_out else signal.SIGTERM)
                job.timed_out, job.deadline = True, now + self.grace_s
        if self.stopping:
            self.stop()

    def stop(self) -> None:
        """Ask all jobs to save a checkpoint and exit."""
        self.stopping = True
        for job in list(self.values()):
            job.stop_requested = job.stop_requested or self._send(job, signal.SIGTERM)

    def kill(self) -> None:
        """Kill all jobs."""
        for job in list(self.values()):
            self._send(job, signal.SIGKILL)

    def _send(self, job: Job, number: signal.Signals) -> bool:
        """Send a signal to a job; return whether there was a process to send it to."""
        send = getattr(self.launcher, "signal", None)
        if send is not None:
            return bool(send(job.trial.number, number))
        process = run_folder.holder(self.folder / job.trial.folder)
        if process is None or process == os.getpid():
            return False
        os.kill(process, number)
        return True
