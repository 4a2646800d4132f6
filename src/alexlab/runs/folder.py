"""Manage the folder of a run, which is locked while the run is active.

`metrics.json` is written last: if it exists, the run has ended. Without it and without a lock, the
run was interrupted.
"""

import csv
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self, TextIO

from alexlab.errors import BROKEN_PIPE, close_output

# the protocol that a run shares with its sweep
from hydra_plugins.hydra_study_sweeper.run_folder import BEST as BEST
from hydra_plugins.hydra_study_sweeper.run_folder import CONFIG as CONFIG
from hydra_plugins.hydra_study_sweeper.run_folder import LAST as LAST
from hydra_plugins.hydra_study_sweeper.run_folder import LOCK as LOCK
from hydra_plugins.hydra_study_sweeper.run_folder import LOG as LOG
from hydra_plugins.hydra_study_sweeper.run_folder import METRICS as METRICS
from hydra_plugins.hydra_study_sweeper.run_folder import atomic_write as atomic_write
from hydra_plugins.hydra_study_sweeper.run_folder import flock
from hydra_plugins.hydra_study_sweeper.run_folder import is_locked as is_locked
from hydra_plugins.hydra_study_sweeper.run_folder import read_metrics as read_metrics
from hydra_plugins.hydra_study_sweeper.run_folder import write_atomically as write_atomically


def lock(folder: Path) -> IO[str] | None:
    """Lock `folder` for this process; return None if another process holds the lock.

    Close the returned file to release the lock. On Windows there is no protection from a second
    writer.
    """
    file = (folder / LOCK).open("a")
    if not flock(file):
        file.close()
        return None
    if hasattr(os, "register_at_fork"):  # a child process would keep the lock after our exit
        os.register_at_fork(after_in_child=file.close)
    return file


ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x1b]*\x1b\\")  # colours and links


class Tee:
    """Write text to a stream and to a log; the log gets no lines that a progress bar redraws.

    Args:
        stream: A terminal, a pipe or a file.
        log: The log file.
        on_closed: Called when the reader of the pipe has exited, as with `| head -1`.
    """

    def __init__(self, stream: TextIO, log: TextIO, on_closed: Callable[[], None]) -> None:
        self.stream, self.log, self.on_closed = stream, log, on_closed

    def write(self, text: str) -> int:
        """Write `text`; text that redraws a line goes only to the stream."""
        if "\r" not in text and not self.log.closed:
            self.log.write(ESCAPES.sub("", text))
            self.log.flush()
        try:
            self.stream.write(text)
            self.stream.flush()
        except BrokenPipeError:
            close_output()
            self.on_closed()
        return len(text)

    def __getattr__(self, name: str) -> Any:  # noqa: D105
        return getattr(self.stream, name)


def writes_to(stream: TextIO, log: TextIO) -> bool:
    """Return whether `stream` is the log file itself, as in a run that a sweep has launched."""
    try:
        return os.path.sameopenfile(stream.fileno(), log.fileno())
    except (OSError, ValueError, AttributeError):
        return False


SIGPIPE = BROKEN_PIPE - 128
RANK_0_FOLDER = "ALEXLAB_RUN_FOLDER"  # tells the other DDP ranks, which are new processes
HISTORY = "history.csv"


class Stopped(SystemExit):
    """Stop the run after a signal, once it has saved; the process exits with 128 + signal."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(128 + signal_number)


class Pruned(BaseException):
    """End the trial early because the sweep's pruner decided so; its metrics are kept."""


def write_json_atomically(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, atomically."""
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as the text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def read_history(folder: Path) -> list[dict[str, str]]:
    """Return the rows of history.csv, one per epoch; an empty list if it does not exist."""
    try:
        with (folder / HISTORY).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


class RunFolder:
    """Lock the folder of a run, copy the output to train.log, and record how the run ended.

    Use it as a context manager. A failure before `start` removes a new folder. If a resume of an
    ended run fails before it has trained, config.yaml and metrics.json are restored.

    Args:
        path: The folder.
        keep: Whether to call `start` at once, so that failures before the training are recorded.
        on_closed: Called with the signal SIGPIPE when no process reads the output any more.

    Raises:
        RuntimeError: If another process is training in this folder.
        OSError: If the folder cannot be written.
    """

    def __init__(
        self, path: Path, *, keep: bool, on_closed: Callable[[int], None] = lambda _: None
    ) -> None:
        self.path, self.keep, self.on_closed = path, keep, on_closed
        self.record: dict[str, Any] = {}  # the content of metrics.json, filled during the run
        self.obsolete: list[Path] = []  # files that a finished run does not need
        self._before: dict[Path, bytes] = {}  # files of an ended run, for `_restore`

    def __enter__(self) -> Self:  # noqa: D105
        self.path.mkdir(parents=True, exist_ok=True)
        held = lock(self.path)
        if held is None:
            raise RuntimeError(f"another process is training in {self.path}")
        self.held = held
        for folder in (self.path, (self.path / LAST).parent):
            for temporary in folder.glob(".*.tmp"):  # left by a killed process
                temporary.unlink(missing_ok=True)
        if self.keep:
            self.start()
        self.log = (self.path / LOG).open("a", encoding="utf-8")
        self.streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (
            stream
            if writes_to(stream, self.log)
            else Tee(stream, self.log, lambda: self.on_closed(SIGPIPE))
            for stream in self.streams
        )
        return self

    def start(self) -> None:
        """Start the run: from now on its end is recorded, also an error."""
        self.keep = True
        if (self.path / METRICS).exists():
            files = [self.path / name for name in (CONFIG, METRICS)]
            self._before = {path: path.read_bytes() for path in files if path.exists()}
            self._trained = self._saved()
        (self.path / METRICS).unlink(missing_ok=True)  # a run with metrics.json would have ended

    def _saved(self) -> list[int]:
        """Return the modification times of the files that training writes."""
        paths = [self.path / name for name in (HISTORY, LAST, BEST)]
        return [path.stat().st_mtime_ns for path in paths if path.exists()]

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        """Record how the run ended; suppress `Pruned`, which is not an error."""
        try:
            if not self.keep and error is not None:
                if not (self.path / CONFIG).exists():  # a new folder
                    self._remove()
            elif error is not None and self._before and self._saved() == self._trained:
                self._restore(error)
            elif status := {None: "finished", Stopped: "stopped", Pruned: "pruned"}.get(kind):
                self._end(status)
                for path in self.obsolete if status == "finished" else []:
                    path.unlink(missing_ok=True)
            else:
                self._log(error)
                self._end("failed", " ".join(f"{type(error).__name__}: {error}".split()))
        finally:
            sys.stdout, sys.stderr = self.streams
            with suppress(OSError):
                self.log.close()
            self.held.close()
        return kind is Pruned

    def _log(self, error: BaseException | None) -> None:
        with suppress(OSError):  # the disk may be full
            self.log.write("".join(traceback.format_exception(error)))
            self.log.flush()

    def _restore(self, error: BaseException) -> None:
        """Restore the files of the ended run after a resume that has trained nothing."""
        self._log(error)
        for path, content in self._before.items():
            with atomic_write(path) as file:
                file.write(content)

    def _end(self, status: str, error: str | None = None) -> None:
        content = {"status": status, "error": error, **self.record}
        write_json_atomically(self.path / METRICS, content)

    def _remove(self) -> None:
        """Remove the files of a run that did not start."""
        for name in (LOG, LOCK):
            (self.path / name).unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()
