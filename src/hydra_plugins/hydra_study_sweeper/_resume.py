"""Continue a sweep: refuse what would make its results incomparable, restore what was lost."""

import copy
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from hydra_plugins.hydra_process_launcher.program import program, verbs
from hydra_plugins.hydra_study_sweeper import run_folder
from hydra_plugins.hydra_study_sweeper._composer import Composer, differences, drop_keys
from hydra_plugins.hydra_study_sweeper._results import TrialResult, resolve_status
from hydra_plugins.hydra_study_sweeper._space import Space, TrialParams, short_hash
from hydra_plugins.hydra_study_sweeper._trials import ENDED, TrialStore, read_csv
from hydra_plugins.hydra_study_sweeper.config import StudySweeperConf, directions, load
from hydra_plugins.hydra_study_sweeper.sweep_folder import (
    SWEEP,
    TRIALS,
    VERSION,
    check_version,
    read_sweep,
    without_password,
)


def sweep_fingerprint(
    settings: StudySweeperConf, space: Space, base: dict[str, Any], config: dict[str, Any]
) -> dict[str, Any]:
    """Return the content of sweep.yaml: the command, and what must not change before the next one.

    Its key `fingerprint` is the app's part of that, such as the data and the kind of device.

    Args:
        settings: The sweeper's.
        space: The axes.
        base: The config that all trials share.
        config: The config of one trial, which the app's function `fingerprint` takes.
    """
    axes: dict[str, Any] = {key.lstrip("+"): list(v) for key, v in space.choices.items()}
    axes |= {
        key.lstrip("+"): f"interval({v.start}, {v.end}) {sorted(v.tags)}".strip()
        for key, v in space.intervals.items()
    }
    fingerprint: Callable[[Any], Any] = load(settings.fingerprint) or (lambda config: {})
    about = settings.about
    if OmegaConf.is_config(about):
        about = OmegaConf.to_container(about, resolve=False)
    return {
        "version": VERSION,
        "command": command_line(),
        "storage": settings.storage and without_password(settings.storage),
        "directions": directions(settings.direction),
        "axes": axes,
        "search": bool(space.intervals),
        "fingerprint": fingerprint(config),
        "scale": settings.suffix.lstrip("-") or "full",
        "about": about,
        "config": base,
    }


def command_line() -> str:
    """Return the running command without passwords, as one line for a shell."""
    return shlex.join([*program(), *verbs(), *map(without_password, sys.argv[1:])])


def read_fingerprint(folder: Path, settings: StudySweeperConf) -> dict[str, Any] | None:
    """Read sweep.yaml of a sweep that is to continue; None if there is none.

    Raises:
        ValueError: Another version of the sweeper made it.
    """
    if not (folder / SWEEP).exists():
        return None
    return read_sweep(folder, otherwise=_new_sweep(settings))


def check_compatible(
    folder: Path, new: Mapping[str, Any], old: Mapping[str, Any], settings: StudySweeperConf
) -> None:
    """Refuse to add to a sweep whose trials had another config, other data or another version.

    Args:
        folder: The sweep's folder.
        new: The content of sweep.yaml that this command would write.
        old: The stored content.
        settings: The sweeper's.

    Raises:
        ValueError: The fingerprints differ; it lists where.
    """
    check_version(folder, old, otherwise=_new_sweep(settings))
    axes = [*old["axes"], *new["axes"]]
    before, now = (drop_keys(copy.deepcopy(one["config"]), axes) for one in (old, new))
    both = old["fingerprint"].keys() & new["fingerprint"].keys() - set(axes)
    marks, marks_now = ({k: one["fingerprint"][k] for k in both} for one in (old, new))
    lines = differences(marks, marks_now) + differences(before, now)
    if old["search"] or new["search"]:
        lines += [f"the axis {line}" for line in differences(old["axes"], new["axes"])]
    if lines:
        raise ValueError(
            f"cannot resume {folder}: its configuration differs: {'; '.join(lines[:8])};"
            f" {_new_sweep(settings)}"
        )


def _new_sweep(settings: StudySweeperConf) -> str:
    """Return the end of an error message: how to start a new sweep."""
    return f"use {settings.key('name')}=NAME for a new sweep"


def restore_from_run_folders(
    store: TrialStore,
    params: Sequence[TrialParams],
    composer: Composer,
    search: Mapping[str, BaseDistribution] | None,
) -> list[str]:
    """Add the trials whose run folders exist although the storage has lost them.

    Args:
        store: Where to add them.
        params: Of the trials of a grid.
        composer: Knows the axes, and the keys that are no part of an identity.
        search: The distributions of a search; None for a grid.

    Returns:
        One line per run folder that was restored, or whose config.yaml could not be read.
    """
    by_identity = {one.identity: one for one in params}
    rows = read_csv(store.folder / TRIALS)
    restored = []
    for path in sorted(store.folder.glob(f"*/{run_folder.CONFIG}"), key=_folder_order):
        folder = path.parent
        try:
            content = run_folder.read_plain_yaml(path)
        except (OSError, ValueError) as error:
            restored.append(f"not restored: {error}")
            continue
        identity = short_hash(drop_keys(content, composer.ignore))
        row = rows.get(folder.name, {})
        values = {key: row[key.lstrip("+")] for key in composer.axes if key.lstrip("+") in row}
        one = by_identity.get(identity) or TrialParams(values, identity)
        if not one.values:  # neither the grid nor trials.csv tells which axis values it had
            continue
        result: TrialResult = {"status": "interrupted"}
        if run_folder.read_result(folder) is not None:
            result = resolve_status(folder, None, len(store.optuna_study.directions))
        state = ENDED.get(result["status"], TrialState.WAITING)
        store.import_trial(one, folder.name, state, result, search)
        restored.append(f"restored: {folder.name} ({result['status']})")
    return restored


def _folder_order(path: Path) -> tuple[int, str]:
    """Return the sort key of a file in a run folder: the number of the folder, then its name."""
    number = path.parent.name.partition("-")[0]
    return (int(number) if number.isdigit() else 0, path.parent.name)
