"""A study that was lost, as the run folders of its sweep tell it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from hydra_plugins import _study_folder as folders
from hydra_plugins._study_composer import Composer, without
from hydra_plugins._study_csv import read_csv
from hydra_plugins._study_ledger import Ledger
from hydra_plugins._study_outcome import outcome
from hydra_plugins._study_record import ENDED
from hydra_plugins._study_space import Cell, digest


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
    for path in sorted(ledger.folder.glob("*/config.yaml"), key=_order):
        folder = path.parent
        content = folders.read_plain_yaml(path)
        identity = digest(without(content, composer.ignore))
        row = rows.get(folder.name, {})
        values = {key: row[key.lstrip("+")] for key in composer.axes if key.lstrip("+") in row}
        cell = by_identity.get(identity) or Cell(values, identity)
        if not cell.values:
            continue
        result: dict[str, Any] = {"status": "interrupted"}
        if folders.read_metrics(folder) is not None:
            result = outcome(folder, None, len(ledger.study.directions))
        state = ENDED.get(result["status"], TrialState.WAITING)
        ledger.adopt(cell, folder.name, state, result, search)
        said.append(f"found again: {folder.name} ({result['status']})")
    return said


def _order(path: Path) -> tuple[int, str]:
    """Run folders in the order of their numbers."""
    number = path.parent.name.partition("-")[0]
    return (int(number) if number.isdigit() else 0, path.parent.name)
