"""What a sweep was made with: kept in sweep.yaml, and refused when it differs the next time."""

import copy
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from hydra_plugins.hydra_study_sweeper import run_folder
from hydra_plugins.hydra_study_sweeper._composer import Composer, differences, without
from hydra_plugins.hydra_study_sweeper._space import Cell, Space, digest
from hydra_plugins.hydra_study_sweeper._storage import without_password
from hydra_plugins.hydra_study_sweeper._trials import ENDED, Ledger, read_csv
from hydra_plugins.hydra_study_sweeper.config import StudySweeperConf, directions, load
from hydra_plugins.hydra_study_sweeper.run_folder import outcome
from hydra_plugins.hydra_study_sweeper.sweep_folder import (
    SWEEP,
    VERSION,
    check_version,
    read_sweep,
)


def signature(
    settings: StudySweeperConf, space: Space, shared: dict[str, Any], config: dict[str, Any]
) -> dict[str, Any]:
    """The command, and what must not change between two of it.

    Args:
        settings: The sweeper's.
        space: What is swept.
        shared: The config that all cells share.
        config: One cell's, for the project's fingerprint of it.
    """
    axes: dict[str, Any] = {key.lstrip("+"): list(v) for key, v in space.choices.items()}
    axes |= {
        key.lstrip("+"): f"interval({v.start}, {v.end}) {sorted(v.tags)}".strip()
        for key, v in space.intervals.items()
    }
    probe: Callable[[Any], Any] = load(settings.fingerprint) or (lambda config: {})
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
        "fingerprint": probe(config),
        "scale": settings.suffix.lstrip("-") or "full",
        "about": about,
        "config": shared,
    }


def command_line() -> str:
    """The command that is running, as it may be kept."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["-m", spec.name] if spec is not None else [sys.argv[0]]
    return shlex.join(["python", *program, *map(without_password, sys.argv[1:])])


def refuse_what_differs(
    folder: Path, new: Mapping[str, Any], old: Mapping[str, Any] | None, settings: StudySweeperConf
) -> None:
    """Refuse to add to a sweep whose runs were made with another config, data or version.

    Raises:
        ValueError: With what differs between the sweep's signature and the `new` one. (That of the
            study is `old`; sweep.yaml counts more.)
    """
    other = f"use {settings.key('name')}=NAME for a new sweep"
    if (folder / SWEEP).exists():
        old = read_sweep(folder, otherwise=other)
    elif old:
        check_version(folder, old, otherwise=other)
    else:
        return
    axes = [*old["axes"], *new["axes"]]
    before, now = (without(copy.deepcopy(one["config"]), axes) for one in (old, new))
    both = old["fingerprint"].keys() & new["fingerprint"].keys()
    marks, marks_now = ({k: one["fingerprint"][k] for k in both} for one in (old, new))
    lines = differences(marks, marks_now) + differences(before, now)
    if old["search"] or new["search"]:
        lines += [f"the axis {line}" for line in differences(old["axes"], new["axes"])]
    if lines:
        raise ValueError(
            f"cannot resume {folder}: its configuration differs: {'; '.join(lines[:8])}; {other}"
        )


def rebuild(
    ledger: Ledger,
    cells: Sequence[Cell],
    composer: Composer,
    search: Mapping[str, BaseDistribution] | None,
) -> list[str]:
    """Enter what the run folders say, when the study has lost it; a line for each."""
    by_identity = {cell.identity: cell for cell in cells}
    rows = read_csv(ledger.folder / "trials.csv")
    said = []
    for path in sorted(ledger.folder.glob(f"*/{run_folder.CONFIG}"), key=_order):
        folder = path.parent
        content = run_folder.read_plain_yaml(path)
        identity = digest(without(content, composer.ignore))
        row = rows.get(folder.name, {})
        values = {key: row[key.lstrip("+")] for key in composer.axes if key.lstrip("+") in row}
        cell = by_identity.get(identity) or Cell(values, identity)
        if not cell.values:
            continue
        result: dict[str, Any] = {"status": "interrupted"}
        if run_folder.read_result(folder) is not None:
            result = outcome(folder, None, len(ledger.study.directions))
        state = ENDED.get(result["status"], TrialState.WAITING)
        ledger.adopt(cell, folder.name, state, result, search)
        said.append(f"found again: {folder.name} ({result['status']})")
    return said


def _order(path: Path) -> tuple[int, str]:
    """Run folders in the order of their numbers."""
    number = path.parent.name.partition("-")[0]
    return (int(number) if number.isdigit() else 0, path.parent.name)
