"""Open the storage of a sweep: a journal file, a database, Redis, or a gRPC proxy of one."""

import contextlib
import json
import os
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import (
    JournalFileBackend,
    JournalFileOpenLock,
    JournalRedisBackend,
)
from optuna.trial import TrialState

from hydra_plugins.hydra_study_sweeper.run_folder import HAS_FLOCK, flock
from hydra_plugins.hydra_study_sweeper.sweep_folder import without_password

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class JournalLock(Protocol):
    """The methods of a lock that Optuna's journal calls."""

    def acquire(self) -> bool: ...
    def release(self) -> None: ...


@contextlib.contextmanager
def held(lock: JournalLock) -> Iterator[None]:
    """Hold `lock` while the block runs."""
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


class FlockLock:
    """An exclusive file lock, which the system releases when the process that holds it exits."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        """Wait for the lock, and take it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        flock(descriptor, wait=True)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Release the lock."""
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


class Journal(JournalFileBackend):
    """Optuna's journal file, whose incomplete last line is removed before every append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = file_lock(path)
        super().__init__(str(path), lock_obj=self.lock)  # type: ignore[arg-type]
        with held(self.lock):
            self._remove_incomplete_line()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append `logs`, one line each; remove the incomplete line of a killed writer first."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with held(self.lock):
            self._remove_incomplete_line()
            with open(self.path, "ab") as file:
                file.write(lines.encode())
                file.flush()
                if any(needs_sync(log) for log in logs):
                    os.fsync(file.fileno())

    def _remove_incomplete_line(self) -> None:
        """Move a last line without a line break to `<journal>.cut`."""
        with open(self.path, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                return
            file.seek(size - 1)
            if file.read(1) == b"\n":
                return
            file.seek(max(0, size - (1 << 20)))
            tail = file.read()
            keep = size - len(tail) + tail.rfind(b"\n") + 1
            with open(f"{self.path}.cut", "ab") as cut:
                cut.write(tail[tail.rfind(b"\n") + 1 :] + b"\n")
            file.truncate(keep)
            os.fsync(file.fileno())


def needs_sync(log: dict[str, Any]) -> bool:
    """Return whether a power cut must not lose this line of the journal.

    Such lines are the end of a trial and the attributes of the study. Syncing one also syncs the
    lines before it. A claim may be lost, since the run's folder tells whether its run has ended.
    """
    if "trial_id" in log and "state" in log:
        return TrialState(log["state"]).is_finished()
    return "study_id" in log and "user_attr" in log


def file_lock(path: Path) -> JournalLock:
    """Return a lock for the file at `path`: `flock`, or Optuna's own on a network file system."""
    mounts = re.findall(r"^\S+ (\S+) (\S+)", _read("/proc/mounts"), flags=re.MULTILINE)
    # the longest mount point above `path`, and its type
    at = max((m for m in mounts if path.is_relative_to(m[0])), key=lambda m: len(m[0]), default="")
    if not HAS_FLOCK or (at and at[1].startswith(("nfs", "smb", "cifs"))):
        return JournalFileOpenLock(str(path))
    return FlockLock(f"{path}.lock")


def _read(path: str) -> str:
    """Return the text of a system file; empty if it cannot be read."""
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""


def open_storage(url: str) -> BaseStorage:
    """Open the storage at `url`.

    Args:
        url: A journal's path, redis://..., grpc://host:port, or a database's URL.

    Raises:
        ValueError: The storage cannot be reached, or its driver is not installed.
    """
    try:
        if "://" not in url:
            return JournalStorage(Journal(Path(url).absolute()))
        if url.startswith("redis"):
            return JournalStorage(JournalRedisBackend(url))
        if url.startswith("grpc://"):
            host, _, port = url.removeprefix("grpc://").partition(":")
            return optuna.storages.GrpcStorageProxy(host=host, port=int(port or 13000))
        return _open_database(url)
    except OSError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = ""
        if "://" not in url:
            hint = (
                "; the file is damaged: move it away, and the same command restores the trials from"
                " their folders"
            )
        raise ValueError(
            f"cannot open the storage {without_password(url)}: {reason}{hint}"
        ) from error


def _open_database(url: str, attempts: int = 3) -> BaseStorage:
    """Open a database; try again if another sweeper creates its tables at this moment."""
    for _ in range(attempts - 1):
        try:
            return optuna.storages.get_storage(url)
        except Exception:
            time.sleep(1.0)
    return optuna.storages.get_storage(url)
