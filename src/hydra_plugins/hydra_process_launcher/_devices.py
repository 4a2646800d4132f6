"""Where jobs may run: the CPUs and GPUs that this process may use, and how jobs share them."""

import os
import subprocess
from collections.abc import Sequence


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
