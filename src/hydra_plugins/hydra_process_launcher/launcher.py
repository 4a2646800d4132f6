"""A Hydra launcher that runs every job in a process of its own, forked from a warm parent.

The parent (Python's forkserver) has imported what takes long, so a job starts in under a second and
leaves nothing behind for the next. The job is the single run that a user would have typed, with
`hydra.mode=RUN hydra.run.dir=...` (`_process_command`, and `_process_job` at the other end);
`_process_places` deals out CPUs and GPUs.
"""

import contextlib
import itertools
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, List, Optional  # noqa: UP035

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from hydra_plugins.hydra_process_launcher._devices import cpus, deal, visible_gpus
from hydra_plugins.hydra_process_launcher._job import Job, run_job


def job_folder(
    context: HydraContext, config: DictConfig, overrides: Sequence[str], number: int
) -> Path:
    """Where job `number` writes: as its overrides say, else as the config does."""
    given = [o for o in overrides if o.startswith(("hydra.sweep.dir=", "hydra.sweep.subdir="))]
    if len(given) == 2:
        parsed = OverridesParser.create().parse_overrides(given)
        values = {override.key_or_group: str(override.value()) for override in parsed}
        return Path(values["hydra.sweep.dir"]) / values["hydra.sweep.subdir"]
    cfg = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(cfg):
        cfg.hydra.job.id = cfg.hydra.job.num = number
    return Path(cfg.hydra.sweep.dir).absolute() / str(cfg.hydra.sweep.subdir)


def job_arguments(
    config: DictConfig, overrides: Sequence[str], folder: Path, number: int
) -> list[str]:
    """What the job is given: the sweep's own config and flags, and its `overrides`."""
    flags = [f"--config-name={config.hydra.job.config_name}"]
    for source in config.hydra.runtime.config_sources:
        if source.provider == "command-line":
            flags.append(f"--config-dir={source.path}")
    of_hydra = ("hydra.mode=", "hydra.run.dir=")
    kept = [o for o in config.hydra.overrides.hydra if not o.startswith(of_hydra)]
    path = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    single = ["hydra.mode=RUN", f"hydra.run.dir='{path}'", f"hydra.job.num={number}"]
    return [*flags, *kept, *overrides, *single]


def main_module() -> str:
    """How the running program was named: a module, or the path of a script."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return spec.name if spec is not None else os.path.abspath(str(main.__file__))


@dataclass
class ProcessLauncherConf:
    """hydra.launcher: `start` is `forkserver`, or `spawn` where a warm fork cannot be had."""

    _target_: str = "hydra_plugins.hydra_process_launcher.launcher.ProcessLauncher"
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
            self._method.set_forkserver_preload(
                [*self.preload, "hydra_plugins.hydra_process_launcher._preload"]
            )
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
        folder = job_folder(self.context, self.config, overrides, number)
        folder.mkdir(parents=True, exist_ok=True)
        place = self._free.get()
        try:
            job = Job(
                main=main_module(),
                argv=job_arguments(self.config, overrides, folder, number),
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

    def _process(self, job: Job, number: int) -> int:
        process = self._method.Process(target=run_job, args=(job,))
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
