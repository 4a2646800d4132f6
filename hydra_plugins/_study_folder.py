"""A run's folder as the sweeper sees it: is it alive, how did it end, what may be deleted.

`metrics.json` is written last and atomically; `.lock` holds a `flock` while the run is under way.
"""

import json
import os
import re
import signal
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
KEPT = ("status", "error", "objective", "wall_s", "data_fingerprint")
ASKED_TO_DIE = {
    -getattr(signal, name)
    for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
    if hasattr(signal, name)  # Windows has two of them
}


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


def outcome(folder: Path, result: Any, objectives: int = 1) -> dict[str, Any]:
    """How a run ended: what its metrics.json says, else what its launcher knows (`result`)."""
    metrics = read_metrics(folder)
    if metrics is not None:
        return checked({key: metrics.get(key) for key in KEPT}, objectives)
    if isinstance(result, BaseException):  # the launcher broke, which is not the run's failure
        return {"status": "interrupted", "error": in_short(result)}
    error = getattr(result, "_return_value", None)
    if isinstance(error, BaseException):
        if getattr(error, "exit_code", None) in ASKED_TO_DIE:
            return {"status": "interrupted", "error": str(error)}
        if hasattr(error, "exit_code"):
            return {"status": "failed", "error": ": ".join([str(error), *last_line(folder)])}
        return {"status": "failed", "error": in_short(error)}
    if as_floats(error) is not None:  # an app that returns its objective and writes nothing
        return {"status": "finished", "error": None, "objective": error}
    return {"status": "failed", "error": "the run ended without metrics.json"}


def in_short(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def last_line(folder: Path) -> list[str]:
    """What the run printed last, if that was an error."""
    try:
        lines = (folder / "train.log").read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        return []
    return [line.strip()[:300] for line in lines[-1:] if "rror" in line]


def checked(result: dict[str, Any], objectives: int) -> dict[str, Any]:
    """`result`, failed when it says finished without as many numbers as there are objectives."""
    values = as_floats(result.get("objective"))
    if result["status"] == "finished" and (values is None or len(values) != objectives):
        wanted = "a number" if objectives == 1 else f"{objectives} numbers"
        error = f"the objective is {result.get('objective')}, not {wanted}"
        return {**result, "status": "failed", "error": error, "objective": None}
    return result


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


def as_floats(objective: Any) -> list[float] | None:
    """The objective as a list of numbers; None when it is not one, or not a number at all."""
    values = objective if isinstance(objective, list) else [objective]
    if any(not isinstance(v, int | float) or v != v for v in values):
        return None
    return [float(v) for v in values]
