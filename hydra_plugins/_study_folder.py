"""A run's folder as the sweeper sees it: is it alive, has it ended, what may be deleted.

`metrics.json` is written last and atomically; `.lock` holds a `flock` while the run is under way.
"""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

METRICS, LOCK = "metrics.json", ".lock"
LAST = ("checkpoints/last.ckpt", "checkpoints/last.previous.ckpt")
BEST = ("checkpoints/best.ckpt", "checkpoints/best.previous.ckpt")


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_metrics(folder: Path) -> dict[str, Any] | None:
    """What the run says of itself; None when it has not ended, or wrote what is no record."""
    try:
        content = json.loads((folder / METRICS).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "status" in content else None


def is_locked(folder: Path) -> bool:
    """Whether a living process runs in `folder`."""
    try:
        with (folder / LOCK).open() as file:
            if fcntl is None:
                return False
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def holder(folder: Path) -> int | None:
    """The process that runs in `folder`, where the system tells (Linux, this machine)."""
    try:
        inode = (folder / LOCK).stat().st_ino
        locks = Path("/proc/locks").read_text()
    except OSError:
        return None
    found = re.search(rf"FLOCK\s+ADVISORY\s+WRITE\s+(\d+)\s+\S+:{inode}\s", locks)
    return int(found[1]) if found and int(found[1]) > 0 else None


def record_failure(folder: Path, error: str) -> None:
    """Write the metrics.json that a run died too early to write, or ended wrongly with."""
    content = {**(read_metrics(folder) or {}), "status": "failed", "error": error}
    write_atomically(folder / METRICS, json.dumps(content, indent=2) + "\n")


def delete(folder: Path, names: Iterable[str]) -> None:
    """Delete those of its files that there are."""
    for name in names:
        (folder / name).unlink(missing_ok=True)


def make_ready(folder: Path, *, anew: bool) -> None:
    """Set aside how the attempt before ended, so that the next one goes on from its checkpoint.

    With `anew` it starts from the beginning.
    """
    if anew:
        delete(folder, LAST)
    metrics = read_metrics(folder)
    if metrics is None or metrics["status"] == "stopped":
        (folder / METRICS).unlink(missing_ok=True)
        return
    attempt = 1
    while (aside := folder / f"metrics.{metrics['status']}-{attempt}.json").exists():
        attempt += 1
    os.replace(folder / METRICS, aside)


def size(folder: Path) -> int:
    """Bytes on disk below `folder`."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                continue
    return total
