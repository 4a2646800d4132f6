"""A job's process, warm or spawned anew: it becomes the single run that its command asks for.

What it prints goes to train.log in its folder. It ends itself when the process that launched it
dies.
"""

import atexit
import faulthandler
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.types import RunMode

from hydra_plugins.hydra_process_launcher._devices import cpus

LOG = "train.log"


@dataclass
class Job:
    """What a job's process is told: `main` is a module, or the path of a script."""

    main: str
    argv: list[str]
    folder: str
    environment: dict[str, str]
    threads: int
    grace_s: float


def run_job(job: Job) -> None:
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
    sys.argv = [job.main, *job.argv]
    Hydra.get_mode = _run_mode  # type: ignore[method-assign]
    try:
        if job.main.endswith(".py") or os.sep in job.main:
            runpy.run_path(job.main, run_name="__main__")
        else:
            runpy.run_module(job.main, run_name="__main__", alter_sys=True)
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
