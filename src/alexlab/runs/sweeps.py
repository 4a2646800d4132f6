"""List sweeps on disk and the states of their trials, without reading results."""

from pathlib import Path

from alexlab.runs.folder import is_locked
from hydra_plugins.hydra_study_sweeper.sweep_folder import TRIALS, read_trials

ENDED = ("finished", "pruned", "failed")  # states of trials that have ended


def sweeps_below(root: Path) -> list[Path]:
    """Return the sweeps in the folder `root`; if `root` is a sweep itself, return only that."""
    if (root / TRIALS).is_file():
        return [root]
    return sorted(path.parent for path in root.glob(f"*/{TRIALS}"))


def trials(sweep: Path) -> list[dict[str, str]]:
    """Return the rows of trials.csv; a running trial without a lock becomes `interrupted`."""
    rows = read_trials(sweep)
    for row in rows:
        if row["state"] == "running" and not is_locked(sweep / row["folder"]):
            row["state"] = "interrupted"
    return rows
