"""Where a result comes from: the commit, the versions, the machine, and what it used of it."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "optuna")


def git_commit() -> str | None:
    """The commit of the checkout, with "-dirty" when files differ from it; None outside of one."""
    root = Path(__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result can depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def peak_rss_mb() -> float | None:
    """Peak resident memory of this process so far, in MB; memory-mapped images count in it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def peak_gpu_mb() -> float | None:
    """Peak memory of tensors on the GPU so far, in MB; None without one."""
    return round(torch.cuda.max_memory_allocated() / (1 << 20), 1) if _used_cuda() else None


def hardware(device: torch.device) -> str:
    """The device in words, such as "cpu (AMD EPYC), 2 threads"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = f" ({model})" if device.type == "cpu" and (model := _processor()) else ""
    return f"{device.type}{name}, {torch.get_num_threads()} threads"


def _processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")


def of_run() -> dict[str, Any]:
    """What metrics.json says of the process that trained."""
    return {
        "peak_rss_mb": peak_rss_mb(),
        "peak_gpu_mb": peak_gpu_mb(),
        "git": git_commit(),
        "versions": versions(),
    }


def _used_cuda() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
