"""Count the CPUs, list the GPUs without starting CUDA, and assign GPUs to jobs."""

import itertools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

CUDA, HIP, ROCR = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"


def cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_share(jobs: int) -> int:
    """Return how many CPU threads each of `jobs` jobs gets.

    OMP_NUM_THREADS limits it: whoever sets it leaves CPUs to other programs.
    """
    share = max(1, cpus() // jobs)
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(share, int(limit)) if limit.isdecimal() and int(limit) else share


@dataclass(frozen=True)
class Gpus:
    """The GPUs that this process may use, each as the environment `variable` names it.

    `problem` is why there are none, or why those that the user named cannot be used.
    """

    names: list[str] = field(default_factory=list)
    variable: str = CUDA
    problem: str = ""


def list_gpus() -> Gpus:
    """List the GPUs that the environment names, or else those of nvidia-smi, or of rocm-smi.

    An NVIDIA GPU is named by its UUID, since its number depends on CUDA_DEVICE_ORDER. Where a card
    is divided by MIG, its slices are listed and it is not: CUDA takes slices by UUID only.
    """
    for variable in (HIP, CUDA):  # as PyTorch for ROCm, which reads CUDA's where HIP's is not set
        if (value := os.environ.get(variable)) is not None:
            names = _split_names(value)
            problem = "" if names else f"{variable}={value!r} hides all GPUs"
            if variable == CUDA:
                problem = problem or _missing_gpu(names)
            return Gpus(names, variable, problem)
    if (value := os.environ.get(ROCR)) is not None:  # HIP numbers the GPUs that ROCr shows, from 0
        names = [str(number) for number in range(len(_split_names(value)))]
        return Gpus(names, HIP, "" if names else f"{ROCR}={value!r} hides all GPUs")
    printed, problem = _run_tool("nvidia-smi", "-L")
    cards, slices = _parse_nvidia_smi(printed)
    if cards:
        names = [name for card in cards for name in slices.get(card) or [card]]
        return Gpus(names)
    printed, amd_problem = _run_tool("rocm-smi", "--showid")
    if numbers := sorted({int(n) for n in re.findall(r"^GPU\[(\d+)\]", printed, re.MULTILINE)}):
        return Gpus([str(number) for number in numbers], HIP)
    return Gpus(problem=problem or amd_problem)


def _split_names(value: str) -> list[str]:
    """Split the value of a variable; like CUDA, ignore -1 and all that follows it."""
    names = (name.strip() for name in value.split(","))
    return [name for name in itertools.takewhile(lambda name: name != "-1", names) if name]


def _run_tool(program: str, option: str) -> tuple[str, str]:
    """Return the output of `program` and why it failed; both empty if it is not installed."""
    try:
        done = subprocess.run(
            [program, option], capture_output=True, text=True, errors="replace", timeout=20
        )
    except FileNotFoundError:
        return "", ""
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"{program} {option} failed: {error}"
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = lines[0] if lines else f"exit code {done.returncode}"
        return "", f"{program} {option} failed: {reason}"
    return done.stdout, ""


def _parse_nvidia_smi(printed: str) -> tuple[list[str], dict[str, list[str]]]:
    """Return the UUIDs of the cards, and those of each card's MIG slices."""
    cards: list[str] = []
    slices: dict[str, list[str]] = {}
    for line in printed.splitlines():
        found = re.search(r"UUID: ((GPU|MIG)-[^)\s]+)", line)
        if found is None:
            continue
        if line.startswith("GPU "):
            cards.append(found[1])
        elif cards:
            slices.setdefault(cards[-1], []).append(found[1])
    return cards, slices


def _missing_gpu(names: Iterable[str]) -> str:
    """Return an error if CUDA_VISIBLE_DEVICES names a GPU that nvidia-smi does not list; else "".

    CUDA would use the GPUs before that name only, without a message.
    """
    cards, slices = _parse_nvidia_smi(_run_tool("nvidia-smi", "-L")[0])
    if not cards:
        return ""
    known = [*cards, *itertools.chain.from_iterable(slices.values())]
    for name in names:
        exists = (
            int(name) < len(cards) if name.isdigit() else any(u.startswith(name) for u in known)
        )
        if not exists:
            return f"{CUDA} names {name}, and nvidia-smi -L lists {len(cards)} GPUs without it"
    return ""


def count_gpus_per_job(devices: Any) -> int | None:
    """Read Lightning's `devices` as a number of GPUs per job; None means all.

    It may be a number, "auto" for one, -1 for all, or a list such as [0, 1] or "0,1". A list must
    count from 0, since the GPUs of a job are numbered from 0.

    Raises:
        ValueError: It is none of these.
    """
    text = str(devices).strip().strip("[]").replace(" ", "")
    if text == "auto":
        return 1
    if text == "-1":
        return None
    is_list = "," in text or not isinstance(devices, int | str)
    numbers = [int(n) for n in text.split(",") if n.isdigit()]
    if is_list and numbers == list(range(len(numbers))) and numbers:
        return len(numbers)
    if is_list:
        raise ValueError(
            f"gpus_per_job={devices}: a job's GPUs are numbered from 0; give their number, and"
            f" choose GPUs with {CUDA}"
        )
    if not numbers or numbers[0] < 1:
        raise ValueError(f"gpus_per_job={devices}: must be a number from 1 on, -1 or auto")
    return numbers[0]


def find_gpus(accelerator: str) -> tuple[Gpus, str]:
    """Return the GPUs for the jobs, and a warning to print, if any.

    Without GPUs the jobs run on CPUs, or on whatever else `accelerator` names.

    Args:
        accelerator: As Lightning's: `auto` uses the GPUs that exist, `gpu` and `cuda` need one,
            any other value uses none.

    Raises:
        ValueError: There is no GPU where one is asked for.
    """
    wanted = accelerator in ("gpu", "cuda")
    if not wanted and accelerator != "auto":
        return Gpus(), ""
    gpus = list_gpus()
    if gpus.names and gpus.problem:
        raise ValueError(f"{gpus.problem}; correct the variable or unset it")
    if not gpus.names:
        is_mps = accelerator == "gpu" and sys.platform == "darwin"
        if wanted and not is_mps:
            reason = gpus.problem or "neither nvidia-smi nor rocm-smi is installed"
            raise ValueError(f"accelerator={accelerator}: no GPU ({reason}); use accelerator=cpu")
        failed = " failed: " in gpus.problem
        return gpus, f"{gpus.problem}; jobs run on the CPU" if failed else ""
    return gpus, ""


class GpuPool:
    """Assigns GPUs to jobs, each to at most `jobs_per_gpu` jobs at a time; safe for threads.

    A job gets the GPUs that have the fewest jobs.

    Args:
        gpus: The GPUs; without any, jobs need none.
        jobs_per_gpu: Jobs that share a GPU, at most.

    Raises:
        ValueError: `jobs_per_gpu` is less than 1.
    """

    def __init__(self, gpus: Gpus, jobs_per_gpu: int) -> None:
        if jobs_per_gpu < 1:
            raise ValueError(f"jobs_per_gpu={jobs_per_gpu}: must be at least 1")
        self.variable, self.jobs_per_gpu = gpus.variable, jobs_per_gpu
        self._jobs = dict.fromkeys(gpus.names, 0)  # the number of jobs on each GPU
        self._released = threading.Condition()
        self._turn = threading.Lock()  # so that small jobs cannot keep a large one waiting

    def num_jobs(self, gpus_per_job: Any) -> int:
        """Return how many jobs may run at a time; 0 without GPUs.

        Raises:
            ValueError: As `acquire`.
        """
        if not self._jobs:
            return 0
        return len(self._jobs) // self._num_gpus(gpus_per_job) * self.jobs_per_gpu

    def acquire(self, gpus_per_job: Any) -> dict[str, str]:
        """Wait until there are GPUs for one more job; return its environment.

        Args:
            gpus_per_job: As `count_gpus_per_job` takes it.

        Raises:
            ValueError: It is none of these, more GPUs than there are, or several MIG slices.
        """
        if not self._jobs:
            return {}
        count = self._num_gpus(gpus_per_job)
        with self._turn, self._released:
            self._released.wait_for(lambda: len(self._free()) >= count)
            names = sorted(self._free(), key=lambda name: self._jobs[name])[:count]
            names.sort(key=list(self._jobs).index)
            for name in names:
                self._jobs[name] += 1
        return {self.variable: ",".join(names)}

    def release(self, environment: Mapping[str, str]) -> None:
        """Give back the GPUs of a job, by the environment that `acquire` returned."""
        with self._released:
            for name in environment.get(self.variable, "").split(","):
                if name:
                    self._jobs[name] -= 1
            self._released.notify_all()

    def _free(self) -> list[str]:
        """Return the GPUs that have room for one more job."""
        return [name for name, jobs in self._jobs.items() if jobs < self.jobs_per_gpu]

    def _num_gpus(self, gpus_per_job: Any) -> int:
        """Return the number of GPUs of a job; raise ValueError if it cannot have so many."""
        count = count_gpus_per_job(gpus_per_job) or len(self._jobs)
        if count > len(self._jobs):
            raise ValueError(
                f"gpus_per_job={count}: the number of GPUs is {len(self._jobs)}; ask for no more"
            )
        if count > 1 and any(name.startswith("MIG-") for name in self._jobs):
            raise ValueError(
                f"gpus_per_job={count}: a process can use one MIG slice; use gpus_per_job=1"
            )
        return count
