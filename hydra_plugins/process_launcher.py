"""A Hydra launcher that runs every job in a process of its own, forked from a warm parent.

The parent (Python's forkserver) has imported what takes long, so a job starts in under a second and
leaves nothing behind for the next. The job is the single run that a user would have typed, with
`hydra.mode=RUN hydra.run.dir=...`; its output goes to train.log in its folder. It ends itself when
the process that launched it dies.
"""

import atexit
import contextlib
import faulthandler
import itertools
import multiprocessing
import os
import queue
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, List, Optional  # noqa: UP035

from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, open_dict

LOG = "train.log"


@dataclass
class ProcessLauncherConf:
    """hydra.launcher: `start` is `forkserver`, or `spawn` where a warm fork cannot be had."""

    _target_: str = "hydra_plugins.process_launcher.ProcessLauncher"
    preload: List[str] = field(default_factory=list)  # noqa: UP006
    start: Optional[str] = None  # noqa: UP045
    jobs: Optional[int] = None  # noqa: UP045
    jobs_per_gpu: int = 1
    gpus_per_job: int = 1
    threads: Optional[int] = None  # noqa: UP045
    grace_s: float = 60.0


ConfigStore.instance().store(
    group="hydra/launcher", name="process", node=ProcessLauncherConf, provider="process_launcher"
)


class JobDied(RuntimeError):
    """A job's process ended without a word. `exit_code` is negative for a signal."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        names = {-number: number.name for number in signal.Signals}
        how = f"by {names[exit_code]}" if exit_code in names else f"with exit code {exit_code}"
        super().__init__(f"the process ended {how}")


class ProcessLauncher(Launcher):
    """Runs jobs in processes; safe to call from several threads, a list of one job each.

    Args:
        preload: Modules that the warm parent imports.
        start: `forkserver` or `spawn`; by default what the system can do.
        jobs: Jobs at a time, for a sweeper that does not say; CPU threads are divided by it.
        jobs_per_gpu: Jobs that share a GPU.
        gpus_per_job: GPUs that each job gets.
        threads: CPU threads of a job; by default its share.
        grace_s: Seconds that a job has to save and stop.
    """

    def __init__(
        self,
        preload: Sequence[str],
        start: str | None,
        jobs: int | None,
        jobs_per_gpu: int,
        gpus_per_job: int,
        threads: int | None,
        grace_s: float,
    ) -> None:
        self.preload, self.threads, self.grace_s = list(preload), threads, grace_s
        self.start = start or ("forkserver" if sys.platform == "linux" else "spawn")
        self.jobs, self.jobs_per_gpu, self.gpus_per_job = jobs, jobs_per_gpu, gpus_per_job
        self._free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.RLock()  # two threads must not poll one process
        self._processes: dict[int, Any] = {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """See Launcher."""
        self.context, self.config = hydra_context, config

    def prepare(self, jobs: int | None) -> int:
        """Make ready for `jobs` at a time, by default as many as there are GPU places, or one."""
        places = deal(visible_gpus(), self.jobs_per_gpu, self.gpus_per_job)
        self.jobs = jobs or self.jobs or max(1, len(places))
        self.threads = self.threads or max(1, cpus() // self.jobs)
        for index in range(self.jobs):
            self._free.put(places[index % len(places)] if places else None)
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # CUDA must not start here
        self._method: Any = multiprocessing.get_context(self.start)
        if self.start == "forkserver":
            self._method.set_forkserver_preload([*self.preload, "hydra_plugins._warm"])
        return self.jobs

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """See Launcher."""
        if not hasattr(self, "_method"):
            self.prepare(None)
        with ThreadPoolExecutor(len(job_overrides)) as pool:
            return list(pool.map(self._run, job_overrides, itertools.count(initial_job_idx)))

    def _run(self, overrides: Sequence[str], number: int) -> JobReturn:
        folder = self._folder(overrides, number)
        folder.mkdir(parents=True, exist_ok=True)
        place = self._free.get()
        try:
            job = Job(
                argv=[*self._flags(), *overrides, *_single(folder, number)],
                folder=str(folder),
                environment={} if place is None else {"CUDA_VISIBLE_DEVICES": place},
                threads=self.threads or 1,
                grace_s=self.grace_s,
            )
            code = self._process(job, number)
        finally:
            self._free.put(place)
        result = JobReturn()
        result.overrides = list(overrides)
        result.status = JobStatus.FAILED if code else JobStatus.COMPLETED
        result.return_value = JobDied(code) if code else None
        return result

    def _process(self, job: "Job", number: int) -> int:
        process = self._method.Process(target=run_job, args=(main_module(), job))
        with self._lock:
            process.start()
            self._processes[number] = process
        wait([process.sentinel])
        with self._lock:
            del self._processes[number]
            process.join()
        return int(process.exitcode or 0)

    def signal(self, number: int, what: signal.Signals) -> bool:
        """Send `what` to job `number`; SIGKILL also to all that it has started."""
        with self._lock:
            process = self._processes.get(number)
            if process is None or process.pid is None:
                return False
            with contextlib.suppress(ProcessLookupError):
                if what is signal.SIGKILL and hasattr(os, "killpg"):
                    os.killpg(process.pid, what)
                else:
                    os.kill(process.pid, what)
        return True

    def _folder(self, overrides: Sequence[str], number: int) -> Path:
        given = [o for o in overrides if o.startswith(("hydra.sweep.dir=", "hydra.sweep.subdir="))]
        if len(given) == 2:
            values = {
                o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(given)
            }
            return Path(str(values["hydra.sweep.dir"])) / str(values["hydra.sweep.subdir"])
        cfg = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(cfg):
            cfg.hydra.job.id = cfg.hydra.job.num = number
        return Path(cfg.hydra.sweep.dir).absolute() / str(cfg.hydra.sweep.subdir)

    def _flags(self) -> list[str]:
        flags = [f"--config-name={self.config.hydra.job.config_name}"]
        for source in self.config.hydra.runtime.config_sources:
            if source.provider == "command-line":
                flags.append(f"--config-dir={source.path}")
        kept = self.config.hydra.overrides.hydra
        return flags + [o for o in kept if not o.startswith(("hydra.mode=", "hydra.run.dir="))]


@dataclass
class Job:
    """What a job's process is told."""

    argv: list[str]
    folder: str
    environment: dict[str, str]
    threads: int
    grace_s: float


def _single(folder: Path, number: int) -> list[str]:
    path = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return ["hydra.mode=RUN", f"hydra.run.dir='{path}'", f"hydra.job.num={number}"]


def main_module() -> str:
    """How the running program was named: a module, or the path of a script."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return spec.name if spec is not None else os.path.abspath(str(main.__file__))


def run_job(main: str, job: Job) -> None:
    """In the job's process: be the single run that `job.argv` asks for."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    getattr(os, "setsid", int)()  # the terminal's Ctrl-C goes to the sweeper, which passes it on
    threading.Thread(target=_follow, args=(parent.sentinel, job.grace_s), daemon=True).start()
    _redirect(Path(job.folder) / LOG)
    os.environ.update(job.environment)
    if job.threads < cpus():  # else it is the job's own affair, which may divide them among ranks
        os.environ["OMP_NUM_THREADS"] = str(job.threads)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(job.threads)
    sys.argv = [main, *job.argv]
    Hydra.get_mode = _run_mode  # type: ignore[method-assign]
    try:
        if main.endswith(".py") or os.sep in main:
            runpy.run_path(main, run_name="__main__")
        else:
            runpy.run_module(main, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out


def _run_mode(*args: Any, **more: Any) -> RunMode:
    """The mode of a job, for which Hydra would compose the whole config."""
    return RunMode.RUN


def _follow(sentinel: int, grace_s: float) -> None:
    """End this process when the one at `sentinel` has died: politely, then at once."""
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    getattr(os, "killpg", os.kill)(os.getpid(), signal.SIGKILL)


def _redirect(log: Path) -> None:
    """Send what is printed, by C code too, to the end of `log`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    faulthandler.enable(file=sys.stderr)


def cpus() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, asked without starting CUDA."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in named.split(",") if gpu.strip() and gpu.strip() != "-1"]
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(i) for i, line in enumerate(found.stdout.splitlines()) if line.startswith("GPU ")]


def deal(gpus: Sequence[str], jobs_per_gpu: int, gpus_per_job: int) -> list[str]:
    """The places for jobs on `gpus`, each as CUDA_VISIBLE_DEVICES names it.

    Raises:
        ValueError: A job asks for more GPUs than there are.
    """
    if gpus and gpus_per_job > len(gpus):
        raise ValueError(f"gpus_per_job={gpus_per_job}, but there are {len(gpus)} GPUs")
    whole = range(0, len(gpus) - gpus_per_job + 1, max(1, gpus_per_job))
    return [",".join(gpus[i : i + gpus_per_job]) for i in whole] * jobs_per_gpu
