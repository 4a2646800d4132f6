"""Run each command of the benchmarks in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLUGINS = ROOT / "benchmarks/plugins"  # in the namespace package of src/hydra_plugins
PYTHON = sys.executable
PEERS = os.environ.get("PEERS_PYTHON", PYTHON)  # a Python with Ray Tune
ALEXLAB = [PYTHON, "-m", "alexlab"]
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, str]:
    """Return the environment of a command: this checkout, no GPU, no limit of threads."""
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    path = [ROOT / "src", ROOT, PLUGINS]
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, path)), "CUDA_VISIBLE_DEVICES": ""}


def run(command: Sequence[str | Path], folder: Path) -> tuple[float, str]:
    """Run a command in `folder`; return its seconds and its output.

    Raises:
        RuntimeError: The command failed; the message has the end of its output.
    """
    begin = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{command}: exit code {done.returncode}\n{done.stdout[-4000:]}")
    return time.perf_counter() - begin, done.stdout


PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print("\\n", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(code)
"""


def run_measured(command: Sequence[str | Path], folder: Path) -> tuple[float, float]:
    """Run a command in `folder`; return its seconds, and its peak memory in MB.

    A small process starts the command, because the peak of a command is at least the memory of
    the process that starts it.

    Raises:
        RuntimeError: The command failed.
    """
    seconds, printed = run([PYTHON, "-c", PEAK, *command], folder)
    return seconds, float(printed.split()[-1])
