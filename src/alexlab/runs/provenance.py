"""Record the origin of a result: commit, versions, hardware, peak memory."""

import os
import platform
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

import alexlab
from alexlab.runs.folder import write_atomically
from hydra_plugins.hydra_process_launcher.program import program, verbs

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

CODE = ("src", "conf", "pyproject.toml")  # files that can change a result
PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "optuna")


@cache
def code() -> tuple[str | None, str]:
    """Return the checkout's commit, and uncommitted changes of the code as a patch.

    The patch includes new files. The commit ends in "-dirty" if there are changes; it is None
    outside of a checkout.
    """
    status = _git("status", "--porcelain=v2", "--branch", "--untracked-files=all", "--", *CODE)
    head = re.search(r"^# branch.oid (\w{40,})$", status, re.MULTILINE)
    if head is None:
        return None, ""
    patch = ""
    if re.search(r"^[^#]", status, re.MULTILINE):
        new = re.findall(r"^\? (.+)$", status, re.MULTILINE)
        patch = _git("diff", "HEAD", "--", *CODE)
        patch += "".join(_git("diff", "--no-index", "--", os.devnull, path) for path in new)
    return head[1] + "-dirty" * bool(patch), patch


def _git(*arguments: str) -> str:
    """Run git and return its output; "" without git or outside of a checkout."""
    root = Path(__file__).parents[3]
    if not (root / "pyproject.toml").is_file():  # an installation may be in another repository
        return ""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # git does not write the index
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")


def git_commit() -> str:
    """Return the commit of the checkout (see `code`) or of the wheel, or else the version."""
    built_from = Path(alexlab.__file__).with_name("COMMIT")
    if (commit := code()[0]) is None and built_from.is_file():
        commit = built_from.read_text("utf-8").strip()
    return commit or f"alexlab {alexlab.__version__}"


def command() -> str:
    """Return the command line without the address of a sweep's storage, which may be a secret."""
    secret = ("sweep.storage=", "hydra.sweeper.storage=", "hydra.sweeper.trial=")
    shown = [word for word in sys.argv[1:] if not word.lstrip("+").startswith(secret)]
    return shlex.join([*program(), *verbs(), *shown])


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result can depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def peaks() -> dict[str, float | None]:
    """Return peak memory in MB: resident (with mapped images), and of tensors on the GPU."""
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10  # bytes there, KiB elsewhere
    rss = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1) if resource else None
    gpu = round(torch.cuda.max_memory_allocated() / (1 << 20), 1)  # 0 without a GPU
    return {"peak_rss_mb": rss, "peak_gpu_mb": gpu or None}


def hardware(device: torch.device) -> str:
    """Describe the device, as in "cpu (AMD EPYC), 2 threads"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = f" ({model})" if device.type == "cpu" and (model := _processor()) else ""
    threads = torch.get_num_threads()
    return f"{device.type}{name}, {threads} thread{'s' * (threads > 1)}"


def _processor() -> str:
    """Return the processor's name, or "" if the system does not provide it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")


def keep_patch(folder: Path) -> None:
    """Write uncommitted changes of the code to code.diff, if there are any."""
    if patch := code()[1]:
        write_atomically(folder / "code.diff", patch)
