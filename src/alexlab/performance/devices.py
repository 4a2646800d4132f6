"""Resolve precision, effective batch size and cores, without importing torch or starting CUDA.

A sweep resolves them before it forks its runs, and a process must not fork after it started CUDA.
"""

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

GPU_ACCELERATORS = ("auto", "gpu", "cuda")
BF16_CAPABILITY = 8.0  # NVIDIA Ampere; older GPUs emulate bfloat16 slowly
ROCM_DEVICE = Path("/dev/kfd")


def resolve_precision(accelerator: str) -> str:
    """Return the precision for trainer.precision=auto: bf16-mixed or 32-true.

    bf16-mixed needs bfloat16 on all GPUs of the machine: results do not depend on the GPU that a
    run gets. All other devices, including CPU and MPS, get 32-true.
    """
    if str(accelerator) not in GPU_ACCELERATORS:
        return "32-true"
    build = _torch_build()
    if build == "rocm":
        hidden = _hidden("HIP_VISIBLE_DEVICES") or _hidden("ROCR_VISIBLE_DEVICES")
        return "bf16-mixed" if ROCM_DEVICE.exists() and not hidden else "32-true"
    if build != "cuda" or _hidden("CUDA_VISIBLE_DEVICES"):
        return "32-true"
    capabilities = _compute_capabilities()
    return "bf16-mixed" if min(capabilities, default=0.0) >= BF16_CAPABILITY else "32-true"


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def effective_batch_size(batch_size: int, trainer: Mapping[str, Any]) -> int:
    """Return the images per optimiser step, over all devices, nodes and accumulated batches.

    Args:
        batch_size: Images per batch on one device.
        trainer: Keyword arguments of Lightning's Trainer: devices, accelerator, num_nodes,
            accumulate_grad_batches.
    """
    devices = _num_devices(trainer["devices"], trainer["accelerator"])
    nodes, accumulated = trainer.get("num_nodes", 1), trainer["accumulate_grad_batches"]
    return int(batch_size * devices * nodes * accumulated)


def _num_devices(devices: int | str | Iterable[int], accelerator: str) -> int:
    """Count devices by Lightning's rules: a number, "0,2", a list, -1 or "auto"."""
    if isinstance(devices, str) and "," in devices:
        return len([index for index in devices.split(",") if index.strip()])
    if not isinstance(devices, int | str):
        return len(list(devices))
    if str(devices) not in ("auto", "-1"):
        return int(devices)
    if str(accelerator) not in GPU_ACCELERATORS or _torch_build() != "cuda":
        return 1
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return max(1, len(_compute_capabilities()))
    return 1 if _hidden("CUDA_VISIBLE_DEVICES") else len(visible.split(","))


def _hidden(variable: str) -> bool:
    """Return whether an environment variable such as CUDA_VISIBLE_DEVICES hides all GPUs."""
    value = os.environ.get(variable)
    return value is not None and value.strip().split(",")[0] in ("", "-1")


@cache
def _torch_build() -> str:
    """Return the platform of the torch build, "cuda", "rocm" or "cpu", from its version file."""
    spec = importlib.util.find_spec("torch")
    folders = spec.submodule_search_locations if spec else None
    text = Path(folders[0], "version.py").read_text("utf-8") if folders else ""
    if re.search(r"^hip\b[^=\n]*= *'", text, re.MULTILINE):
        return "rocm"
    return "cuda" if re.search(r"^cuda\b[^=\n]*= *'", text, re.MULTILINE) else "cpu"


@cache
def _compute_capabilities() -> list[float]:
    """Return the compute capability of each GPU from nvidia-smi; [] if it fails or is missing."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return [float(line) for line in result.stdout.split()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
