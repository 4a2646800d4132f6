"""Make ended trials of a sweep pending again, so that the sweep's command runs them once more.

Hydra imports this file in every process: Optuna is imported when a trial is queued.
"""

from collections.abc import Sequence
from pathlib import Path

from hydra_plugins.hydra_study_sweeper.sweep_folder import JOURNAL, OLD, read_sweep


def requeue_trials(folder: Path, numbers: Sequence[int], *, storage: str | None = None) -> None:
    """Make ended trials pending again; the files of their runs go to .old/.

    Args:
        folder: The sweep's folder.
        numbers: Of the trials.
        storage: URL of the sweep's storage; default: the journal in its folder.

    Raises:
        ValueError: There is no such trial, or it has not ended.
    """
    from hydra_plugins.hydra_study_sweeper._trials import TrialStore

    folder = folder.absolute()
    url = storage or str(folder / JOURNAL)
    store = TrialStore(url, folder.name, list(read_sweep(folder)["directions"]), folder)
    for number in numbers:
        if number not in store.trials or not store.trials[number].ended:
            raise ValueError(f"{folder} has no trial {number} that has ended")
    for number in numbers:
        trial = store.trials[number]
        set_aside(folder / trial.folder)
        store.add_attempt(trial, "pending", from_scratch=True)  # not from another sweep


def set_aside(folder: Path) -> None:
    """Move a run's folder to .old/ beside it, under a name that is free there."""
    old = folder.parent / OLD
    old.mkdir(exist_ok=True)
    count = 1
    while (target := old / f"{folder.name}.{count}").exists():
        count += 1
    if folder.exists():
        folder.rename(target)
