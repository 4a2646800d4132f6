"""The process of one job: it runs the task function that Hydra gave to the launcher.

Its output goes to train.log in the job's folder, and its result to the launcher. If the launcher's
process exits, this one saves and exits, too.
"""

import atexit
import contextlib
import faulthandler
import multiprocessing
import os
import re
import signal
import stat
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.core.utils import run_job as run_hydra_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.hydra_process_launcher._devices import cpus
from hydra_plugins.hydra_process_launcher.hydra_internals import keeps_traceback, value_of

LOG = "train.log"
SWEEP_FOLDER = ("hydra.sweep.dir", "hydra.sweep.subdir")


class JobProcessError(RuntimeError):
    """A job's process exited without a result; an exception of the task is a result.

    `exit_code` is negative for a signal, and None if the exit was not observed.
    """

    def __init__(self, exit_code: int | None) -> None:
        self.exit_code = exit_code
        names = {-number: number.name for number in signal.Signals}
        if exit_code is None:
            how = "unobserved, since the fork server was killed"
        elif exit_code in names:
            how = f"by {names[exit_code]}"
        else:
            how = f"with exit code {exit_code}"
        super().__init__(f"the process ended {how}")

    def __reduce__(self) -> Any:
        return type(self), (self.exit_code,)


@dataclass
class Job:
    """One job, as it is sent to its process.

    Args:
        number: Its number in the sweep.
        overrides: The overrides of this job.
        shared: The state that all jobs of the sweep share, pickled by `serialize`.
        main: The module that `python -m` runs; None if a script runs.
        argv: The beginning of sys.argv: the program, and the verbs of its dispatcher.
        flags: Hydra's own flags of the sweep's command.
        environment: Variables to set.
        threads: CPU threads.
        grace_s: Seconds that the job has to save and exit, once the launcher has exited.
    """

    number: int
    overrides: list[str]
    shared: bytes
    main: str | None
    argv: list[str]
    flags: list[str]
    environment: dict[str, str]
    threads: int
    grace_s: float


def serialize(context: HydraContext, config: DictConfig, task_function: TaskFunction) -> bytes:
    """Pickle the state that all jobs of a sweep share, with Hydra's singletons.

    It takes cloudpickle, like Hydra's joblib launcher: the task function may be defined in
    `__main__` or in a function.
    """
    shared: bytes = cloudpickle.dumps((context, config, task_function, Singleton.get_state()))
    return shared


def run_job(job: Job, results: Connection) -> None:
    """Run `job` in this process, and send its pickled JobReturn through `results`."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    getattr(os, "setsid", int)()  # the terminal's Ctrl-C goes to the sweeper, which passes it on
    arguments = (parent.sentinel, job.grace_s)
    threading.Thread(target=exit_with_parent, args=arguments, daemon=True).start()
    if hasattr(os, "register_at_fork"):  # to the launcher, a closed pipe means our exit
        os.register_at_fork(after_in_child=results.close)
    os.environ.update(job.environment)
    if job.threads < cpus():  # with all CPUs, the job itself may divide them among its ranks
        os.environ["OMP_NUM_THREADS"] = str(job.threads)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(job.threads)
    try:
        results.send_bytes(_pickled(_result(job)))
    finally:
        run_exit_functions()


def run_exit_functions() -> None:
    """Run the functions registered with `atexit`, since multiprocessing does not."""
    atexit._run_exitfuncs()


def _result(job: Job) -> JobReturn:
    """Run `job` and return its result; print an exception, and return it as the result."""
    try:
        if (folder := folder_of_overrides(job.overrides)) is not None:
            redirect_output_to(folder / LOG)
        result = _execute(job, redirected=folder is not None)
    except Exception as problem:
        result = JobReturn(overrides=job.overrides, status=JobStatus.FAILED)
        result.return_value = problem
    error = value_of(result)
    if result.status is JobStatus.FAILED and isinstance(error, BaseException):
        trace = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):  # the disk may be full
            if not _log_ends_with(trace.splitlines()[-1]):  # the task may have logged it itself
                print(trace, end="", file=sys.stderr)
        if not keeps_traceback(result):
            error.add_note(f"\nIn the process of the job:\n{trace}")
    return result


def _execute(job: Job, *, redirected: bool) -> JobReturn:
    """Compose the job's config and call Hydra's run_job."""
    context: HydraContext
    config: DictConfig
    context, config, task_function, state = cloudpickle.loads(job.shared)
    # set_state would scan for plugins again
    state["instances"].setdefault(Plugins, Plugins.instance())
    setup_globals()
    Singleton.set_state(state)
    cfg = context.config_loader.load_sweep_config(config, job.overrides)
    with open_dict(cfg):
        cfg.hydra.job.id = f"{cfg.hydra.job.name}_{job.number}"
        cfg.hydra.job.num = job.number
    HydraConfig.instance().set_config(cfg)
    keys = [str(OmegaConf.select(cfg, key)) for key in SWEEP_FOLDER]
    folder = Path(*keys).absolute()
    with read_write(cfg.hydra.run):
        cfg.hydra.run.dir = str(folder)  # Lightning passes it to the other ranks
    if not redirected:
        redirect_output_to(folder / LOG)
    _become_single_run(job, config, cfg, folder)
    return run_hydra_job(
        hydra_context=context,
        task_function=task_function,
        config=cfg,
        job_dir_key=SWEEP_FOLDER[0],
        job_subdir_key=SWEEP_FOLDER[1],
    )


def folder_of_overrides(overrides: Sequence[str]) -> Path | None:
    """Return the job's folder if its overrides name it, without composing a config."""
    given = [o for o in overrides if o.startswith(tuple(f"{key}=" for key in SWEEP_FOLDER))]
    if len(given) != len(SWEEP_FOLDER):
        return None
    parsed = OverridesParser.create().parse_overrides(given)
    values = {override.key_or_group: str(override.value()) for override in parsed}
    folder = Path(*(values[key] for key in SWEEP_FOLDER))
    return None if "${" in str(folder) else folder.absolute()


def _become_single_run(job: Job, config: DictConfig, cfg: DictConfig, folder: Path) -> None:
    """Set sys.argv and the name of `__main__` to the command of this job as a single run.

    Lightning's DDP starts the other ranks with that command. It has the Hydra overrides of the
    sweep, whose config is `config`, and the overrides of the job, whose config is `cfg`.
    """
    replaced = ("hydra.mode=", "hydra.run.dir=")
    of_hydra: Any = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    kept = [override for override in of_hydra if not override.startswith(replaced)]
    single = {
        "hydra.mode": "RUN",
        "hydra.run.dir": _quoted(str(folder)),
        "hydra.job.num": str(job.number),
        "hydra.job.id": _quoted(cfg.hydra.job.id),
    }
    words = [*job.flags, *kept, *job.overrides]
    sys.argv = [*job.argv, *words, *(f"{key}={value}" for key, value in single.items())]
    main = sys.modules["__main__"]
    if getattr(main.__spec__, "name", None) != job.main:
        main.__spec__ = None if job.main is None else ModuleSpec(job.main, loader=None)


def _quoted(text: str) -> str:
    r"""Quote `text` for Hydra's grammar, if it is no plain word; ' and \ are escaped."""
    if re.fullmatch(r"[A-Za-z/][\w./-]*", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _pickled(result: JobReturn) -> bytes:
    """Pickle `result`; print and leave out a return value that cannot be pickled and read back."""
    try:
        pickled: bytes = cloudpickle.dumps(result)
        cloudpickle.loads(pickled)
    except Exception as problem:
        value = value_of(result)
        print(f"not sent to the launcher: {type(value).__name__}: {problem}", file=sys.stderr)
        result.return_value = None
        if result.status is JobStatus.FAILED:
            text = "".join(traceback.format_exception_only(value)).strip()
            result.return_value = RuntimeError(text)
        pickled = cloudpickle.dumps(result)
    return pickled


def exit_with_parent(sentinel: int, grace_s: float) -> None:
    """Wait for the exit of the process of `sentinel`; then send SIGTERM here, and later SIGKILL."""
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    getattr(os, "killpg", os.kill)(os.getpid(), signal.SIGKILL)


def redirect_output_to(log: Path) -> None:
    """Append all output of this process, including that of C code, to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    faulthandler.enable(file=sys.stderr)


def _log_ends_with(line: str) -> bool:
    """Return whether standard error is a file and `line` is its last line."""
    if not stat.S_ISREG(os.fstat(2).st_mode):
        return False
    with open(2, "rb", closefd=False) as log:
        log.seek(-min(log.seek(0, os.SEEK_END), len(line.encode()) + 1), os.SEEK_END)
        return log.read().decode(errors="replace").strip() == line.strip()
