"""Hydra launcher that runs every job in a process of its own, forked from a preloaded parent.

The parent, a fork server of multiprocessing, has imported the slow packages, so a job starts within
a second. Each job has a new process, so no job changes the state of the next one. That process
composes the job's config and calls the task function, as Hydra does (`_job`). `_devices` assigns
GPUs.
"""

import contextlib
import itertools
import logging
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.util
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, List, Optional  # noqa: UP035

import cloudpickle
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hydra_process_launcher._devices import GpuPool, find_gpus, thread_share
from hydra_plugins.hydra_process_launcher._job import Job, JobProcessError, run_job, serialize
from hydra_plugins.hydra_process_launcher.program import main_module, verbs

log = logging.getLogger(__name__)
UNOBSERVED = 255  # multiprocessing's exit code of a process whose fork server was killed


@dataclass
class ProcessLauncherConf:
    """The node hydra.launcher.

    An app extends it in a file conf/hydra/launcher/process.yaml with `defaults: [base_process]`.

    Attributes:
        preload: Modules that the fork server imports.
        start_method: `forkserver` or `spawn`; default: `forkserver` on Linux, else `spawn`.
        n_jobs: Jobs at a time; default: one, or one per slot on the GPUs. They share the CPU
            threads equally.
        accelerator: As Lightning's: `auto` uses the GPUs that exist, `gpu` and `cuda` need one,
            any other value uses none.
        jobs_per_gpu: Jobs that share a GPU, at most.
        gpus_per_job: GPUs of a job, as Lightning's `devices`: a number, -1 for all, or [0, 1].
            If it is `${KEY}`, a job that overrides KEY gets the GPUs that its own value asks for.
        threads: CPU threads of a job; default: its share, and no more than OMP_NUM_THREADS.
        grace_s: Seconds that a job has to save and exit, once this process has exited.
    """

    _target_: str = "hydra_plugins.hydra_process_launcher.launcher.ProcessLauncher"
    preload: List[str] = field(default_factory=list)  # noqa: UP006
    start_method: Optional[str] = None  # noqa: UP045
    n_jobs: Optional[int] = None  # noqa: UP045
    accelerator: str = "auto"
    jobs_per_gpu: int = 1
    gpus_per_job: Any = 1
    threads: Optional[int] = None  # noqa: UP045
    grace_s: float = 60.0


ConfigStore.instance().store(
    group="hydra/launcher",
    name="base_process",
    node=ProcessLauncherConf,
    provider="process_launcher",
)


class ProcessLauncherSearchPath(SearchPathPlugin):
    """Offers `hydra/launcher=process` to apps that have no file of that name."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder with that option to the search path."""
        search_path.append("process_launcher", f"file://{Path(__file__).parent / 'conf'}")


class ProcessLauncher(Launcher):
    """Runs jobs in processes; several threads may call it, each with a list of one job.

    Args:
        **settings: Those of `ProcessLauncherConf`.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = ProcessLauncherConf(**settings)
        self.threads = self.settings.threads
        default = "forkserver" if sys.platform == "linux" else "spawn"
        self.start_method = self.settings.start_method or default
        self._gpus: GpuPool | None = None
        self._shared: bytes | None = None  # made by `prepare`
        self._lock = threading.RLock()  # two threads must not poll one process
        self._processes: dict[int, Any] = {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what the jobs need; Hydra calls this once."""
        self.context, self.task_function, self.config = hydra_context, task_function, config

    def start(self) -> None:
        """Start the fork server, which imports its modules while the caller prepares jobs."""
        self._choose_processes()
        if self.start_method == "forkserver":
            multiprocessing.forkserver.ensure_running()

    def _choose_processes(self) -> None:
        """Set how processes are started, and what the fork server imports."""
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # CUDA must not start here
        make_sockets_possible()
        self._multiprocessing: Any = multiprocessing.get_context(self.start_method)
        if self.start_method == "forkserver":
            here = __name__.rpartition(".")[0]
            modules = [f"{here}._uninterrupted", *self.settings.preload, f"{here}._preload"]
            self._multiprocessing.set_forkserver_preload(modules)

    def prepare(self, n_jobs: int | None, cpu_jobs: Callable[[], int] = lambda: 1) -> int:
        """Prepare for calls of `launch` from several threads; return how many jobs run at a time.

        The state that jobs share is pickled here: `launch` runs in another thread, while the caller
        may change Hydra's state by composing a config.

        Args:
            n_jobs: Jobs at a time; None for the launcher's own setting.
            cpu_jobs: Returns the number of jobs if there is neither a setting nor a GPU.

        Raises:
            ValueError: A setting is wrong, or needs a GPU that does not exist.
        """
        jobs = self._make_slots(n_jobs or self.settings.n_jobs, cpu_jobs)
        self._shared = serialize(self.context, self.config, self.task_function)
        return jobs

    def _make_slots(self, n_jobs: int | None, cpu_jobs: Callable[[], int] = lambda: 1) -> int:
        """Find the devices, and return how many jobs run at a time on them."""
        try:
            gpus, warning = find_gpus(self.settings.accelerator)
            self._gpus = GpuPool(gpus, self.settings.jobs_per_gpu)
            slots = self._gpus.num_jobs(self.settings.gpus_per_job)
        except ValueError as error:
            raise ValueError(self._with_keys(str(error))) from None
        jobs = n_jobs or slots or cpu_jobs()
        if slots and jobs > slots:
            warning = (
                f"{slots} of {jobs} jobs run at a time, since the GPUs have no more slots;"
                f" jobs_per_gpu={self.settings.jobs_per_gpu + 1} makes more"
            )
            jobs = slots
        if warning:
            log.warning(self._with_keys(warning))
        self.threads = self.threads or thread_share(jobs)
        self._slots = threading.Semaphore(jobs)
        self._choose_processes()
        return jobs

    def _with_keys(self, message: str) -> str:
        """Replace each setting's name in `message` by the key that a user sets."""
        names = r"\b(accelerator|jobs_per_gpu|gpus_per_job)(?==)"
        return re.sub(names, lambda found: self._user_key(found[1]), message)

    def _user_key(self, name: str) -> str:
        """Return the key that a user sets for a setting: KEY if the setting is `${KEY}`."""
        node: Any = OmegaConf.to_container(self.config.hydra.launcher, resolve=False)
        wired = re.fullmatch(r"\$\{([\w.]+)\}", str(node[name]))
        return wired[1] if wired else f"hydra.launcher.{name}"

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and return their results in order, as Hydra's launchers do."""
        if self._gpus is None:
            self._make_slots(self.settings.n_jobs)
        setup_globals()
        shared = self._shared or serialize(self.context, self.config, self.task_function)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        log.info(f"Launching {len(job_overrides)} jobs in processes of their own")
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            log.info(f"\t#{number} : {' '.join(filter_overrides(overrides))}")
        with ThreadPoolExecutor(max(1, len(job_overrides))) as pool:
            numbers = itertools.count(initial_job_idx)
            return list(pool.map(self._run, job_overrides, numbers, itertools.repeat(shared)))

    def _run(self, overrides: Sequence[str], number: int, shared: bytes) -> JobReturn:
        """Wait for a slot and GPUs, run one job there, and return its result or its error."""
        assert self._gpus is not None
        result = JobReturn(overrides=list(overrides), status=JobStatus.FAILED)
        with self._slots:
            try:
                environment = self._gpus.acquire(self._gpus_of(overrides))
            except ValueError as problem:
                result.return_value = ValueError(self._with_keys(str(problem)))
                return result
            try:
                job = Job(
                    number=number,
                    overrides=list(overrides),
                    shared=shared,
                    main=main_module(),
                    argv=[sys.argv[0], *verbs()],
                    flags=hydra_flags(self.config),
                    environment=environment,
                    threads=self.threads or 1,
                    grace_s=self.settings.grace_s,
                )
                code, pickled = self._wait_for(job)
            finally:
                self._gpus.release(environment)
        error: Exception | None = None
        if pickled:
            try:
                returned: JobReturn = cloudpickle.loads(pickled)
                return returned
            except Exception as problem:
                error = RuntimeError(f"cannot read the job's result: {problem}")
        result.return_value = error or JobProcessError(code)
        return result

    def _gpus_of(self, overrides: Sequence[str]) -> Any:
        """Return the value of `gpus_per_job` for the job with these overrides."""
        key = self._user_key("gpus_per_job")
        own = [o for o in overrides if o.lstrip("+").startswith(f"{key}=")]
        if not own:
            return self.settings.gpus_per_job
        return OverridesParser.create().parse_override(own[-1]).value()

    def _wait_for(self, job: Job) -> tuple[int | None, bytes]:
        """Run `job` in a process; return its exit code, if known, and its pickled result, if any.

        If the fork server was killed, the exit code is unknown. Then the result, or the end of the
        pipe, tells that the process has ended.
        """
        receiver: Connection
        receiver, sender = self._multiprocessing.Pipe(duplex=False)
        with receiver:
            with sender:
                process = self._multiprocessing.Process(target=run_job, args=(job, sender))
                with self._lock:
                    process.start()
                    self._processes[job.number] = process
            wait([receiver, process.sentinel])
            pickled = b""
            if receiver.poll() or self._is_unobserved(process):
                with contextlib.suppress(EOFError, OSError):
                    pickled = receiver.recv_bytes()
        wait([process.sentinel])
        with self._lock:
            del self._processes[job.number]
            process.join()
        return (None if self._is_unobserved(process) else process.exitcode), pickled

    def _is_unobserved(self, process: Any) -> bool:
        """Return whether multiprocessing lost sight of `process`, which may still run."""
        with self._lock:
            return self.start_method == "forkserver" and process.exitcode == UNOBSERVED

    def signal(self, number: int, what: signal.Signals) -> bool:
        """Send `what` to a job, SIGKILL also to its child processes; False if it has no process."""
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


def make_sockets_possible() -> None:
    """Let multiprocessing use /tmp if TMPDIR is too long for the paths of Unix sockets."""
    longest = 107 - len("/pymp-12345678/listener-12345678")
    if os.name == "posix" and len(os.fsencode(tempfile.gettempdir())) > longest:
        before, tempfile.tempdir = tempfile.tempdir, "/tmp"
        try:
            multiprocessing.util.get_temp_dir()  # makes it, and keeps it for this process
        finally:
            tempfile.tempdir = before


def hydra_flags(config: DictConfig) -> list[str]:
    """Return the flags, such as --config-dir, with which a job's command finds its config."""
    flags = []
    if (name := config.hydra.job.config_name) is not None:
        flags.append(f"--config-name={name}")
    is_moved = any(word.startswith(("--config-path", "-cp")) for word in sys.argv)
    for source in config.hydra.runtime.config_sources:
        if source.provider == "command-line":
            flags.append(f"--config-dir={source.path}")
        if source.provider == "main" and is_moved:
            scheme = "pkg://" if source.schema == "pkg" else ""
            flags.append(f"--config-path={scheme}{source.path}")
    return flags
