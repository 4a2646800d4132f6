"""Tell whether a sweep's report is up to date, so that a finished sweep is not reported again.

`.report.json` in the sweep's folder has a hash of what the report was made of and of what was
written, and the lines that the sweep printed. A report of another version of this package, or of
files that have changed since, is written again. Only names, times and sizes of files are read: of
1,000 runs that takes a twentieth of a second.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from alexlab.errors import printable
from alexlab.runs.config import PACKAGE
from alexlab.runs.folder import CONFIG, HISTORY, METRICS, write_atomically
from hydra_plugins.hydra_study_sweeper.sweep_folder import SWEEP, TRIALS

STATE = ".report.json"
OF_RUN = (METRICS, HISTORY, CONFIG, "test_predictions.csv", "checkpoints", ".")
WRITTEN = ("report.md", "report.html", "summary.csv", "answers.json", "runs.csv")


def read_lines(folder: Path) -> list[str] | None:
    """Return the lines that the up-to-date report of a sweep printed; None if it is out of date."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        state = json.loads((folder / STATE).read_text("utf-8"))
        if state["hash"] == _hash(folder):
            return [printable(line) for line in state["lines"]]
    return None


def write_lines(folder: Path, lines: Sequence[str]) -> None:
    """Record that the report of a sweep has just been written, and what was printed."""
    text = json.dumps({"hash": _hash(folder), "lines": list(lines)}, ensure_ascii=False)
    write_atomically(folder / STATE, text + "\n", sync=False)


def _hash(folder: Path) -> str:
    """Hash what the report is made of, and what was written."""
    digest = hashlib.sha256()
    for name in (SWEEP, TRIALS):  # a finished command writes them again, with the same content
        digest.update((folder / name).read_bytes())
    for path in _files(folder):
        try:
            found = os.stat(path)
            digest.update(f"{path} {found.st_mtime_ns} {found.st_size}\n".encode(errors="replace"))
        except OSError:
            digest.update(f"{path} none\n".encode(errors="replace"))
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[str]:
    """Yield the files that count by their times and sizes, in a fixed order."""
    yield from sorted(map(str, PACKAGE.glob("**/*.py")))
    for other in sorted(folder.parent.glob(f"*/{SWEEP}")):  # trials that other sweeps have, too
        if other.parent != folder:
            yield str(other.with_name(TRIALS))
    yield from (os.path.join(folder, name) for name in WRITTEN)
    yield from sorted(map(str, (folder / "plots").glob("*")))
    runs = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
    yield from (os.path.join(run, name) for run in runs for name in OF_RUN)
