"""Check whether the report of a finished sweep is up to date, so that it is not written again.

`.report.json` in the sweep's folder has the lines that the sweep printed, and a hash of the report,
of the files that it was made from, and of this package. If one of them has changed, the report is
written again. Only sweep.yaml and trials.csv are read; of all other files the hash has the paths,
times and sizes, which takes 0.05 s for 1,000 runs.
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
    """Return the lines that were printed with a sweep's report; None if it is out of date."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        state = json.loads((folder / STATE).read_text("utf-8"))
        if state["hash"] == _hash(folder):
            return [printable(line) for line in state["lines"]]
    return None


def write_lines(folder: Path, lines: Sequence[str]) -> None:
    """Store the hash of a report that has just been written, and the lines that were printed."""
    text = json.dumps({"hash": _hash(folder), "lines": list(lines)}, ensure_ascii=False)
    write_atomically(folder / STATE, text + "\n", sync=False)


def _hash(folder: Path) -> str:
    """Hash the report, the files that it was made from, and this package."""
    digest = hashlib.sha256()
    for name in (SWEEP, TRIALS):  # a repeated command rewrites them, with equal content
        digest.update((folder / name).read_bytes())
    for path in _files(folder):
        try:
            found = os.stat(path)
            digest.update(f"{path} {found.st_mtime_ns} {found.st_size}\n".encode(errors="replace"))
        except OSError:
            digest.update(f"{path} none\n".encode(errors="replace"))
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[str]:
    """Yield the files whose times and sizes are hashed, in a fixed order."""
    yield from sorted(map(str, PACKAGE.glob("**/*.py")))
    for other in sorted(folder.parent.glob(f"*/{SWEEP}")):  # for trials in several sweeps
        if other.parent != folder:
            yield str(other.with_name(TRIALS))
    yield from (os.path.join(folder, name) for name in WRITTEN)
    yield from sorted(map(str, (folder / "plots").glob("*")))
    runs = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
    yield from (os.path.join(run, name) for run in runs for name in OF_RUN)
