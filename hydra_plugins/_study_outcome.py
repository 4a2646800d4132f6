"""How a run ended: what its metrics.json says, else what its launcher knows."""

import signal
from pathlib import Path
from typing import Any

from hydra_plugins._study_folder import read_metrics

KEPT = ("status", "error", "objective", "wall_s", "data_fingerprint")
ASKED_TO_DIE = {
    -getattr(signal, name)
    for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
    if hasattr(signal, name)  # Windows has two of them
}


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


def as_floats(objective: Any) -> list[float] | None:
    """The objective as a list of numbers; None when it is not one, or not a number at all."""
    values = objective if isinstance(objective, list) else [objective]
    if any(not isinstance(v, int | float) or v != v for v in values):
        return None
    return [float(v) for v in values]
