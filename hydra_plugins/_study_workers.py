"""Who works on a study, and who of them lives: by its process here, elsewhere by signs of life."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import optuna

LEASE_S = 60.0  # a worker on another machine that shows no sign of life for so long is dead


class Worker:
    """This process among the workers of `study`."""

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        self.name = worker_name()
        self._signs: dict[str, tuple[Any, float]] = {}  # of others, and when each was new here
        self._shown = -LEASE_S

    def show_life(self) -> None:
        """Leave a sign of life in the study, now and then."""
        if time.monotonic() - self._shown > LEASE_S / 4:
            self._shown = time.monotonic()
            self.study.set_user_attr(f"worker:{self.name}", time.time())

    def knows_alive(self, other: str) -> bool:
        """Whether the worker named `other` lives; not asked of what this one runs itself."""
        if other == self.name:
            return False
        if other.split("|")[:2] == self.name.split("|")[:2]:
            pid, _, started = other.split("|", 2)[2].partition("|")
            return process_start(int(pid)) == started
        sign = self.study.user_attrs.get(f"worker:{other}")
        known = self._signs.get(other)
        if known is None or known[0] != sign:
            self._signs[other] = (sign, time.monotonic())
            return True
        return time.monotonic() - known[1] < LEASE_S


def worker_name() -> str:
    """This process among all on all machines: host, boot and process namespace, pid, start."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        place = f"{boot}-{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        place = "local"
    return f"{socket.gethostname()}|{place}|{os.getpid()}|{process_start(os.getpid())}"


def process_start(pid: int) -> str:
    """When `pid` was started, as the system counts; empty when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except OSError:
        pass
    if os.path.isdir("/proc/self"):
        return ""
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return "unknown"
