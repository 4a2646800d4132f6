"""Before a sweep starts: may it add to what its folder has, and what has the study lost?"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from hydra_plugins import _study_folder as folders
from hydra_plugins._study_board import read_csv
from hydra_plugins._study_ledger import Ledger
from hydra_plugins._study_space import Cell, Composer, differences, digest, without

STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def refuse_what_differs(folder: Path, new: Mapping[str, Any], ledger: Ledger) -> None:
    """Refuse to add to a sweep whose runs were made with another config, data or version.

    Raises:
        ValueError: With what differs between the sweep's signature and the `new` one.
    """
    old = ledger.study.user_attrs.get("signature")
    if (path := folder / "sweep.yaml").exists():
        old = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    if not old:
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
            f"{folder} was made otherwise, so results would not be comparable (sweep=NAME starts "
            f"another sweep). What differs: {'; '.join(lines[:8])}"
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
    for path in sorted(ledger.folder.glob("*/config.yaml"), key=_order):
        folder = path.parent
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
        identity = digest(without(content, composer.ignore))
        row = rows.get(folder.name, {})
        values = {key: row[key.lstrip("+")] for key in composer.axes if key.lstrip("+") in row}
        cell = by_identity.get(identity) or Cell(values, identity)
        if not cell.values:
            continue
        result: dict[str, Any] = {"status": "interrupted"}
        if folders.read_metrics(folder) is not None:
            result = folders.outcome(folder, None, len(ledger.study.directions))
        state = STATES.get(result["status"], TrialState.WAITING)
        ledger.adopt(cell, folder.name, state, result, search)
        said.append(f"found again: {folder.name} ({result['status']})")
    return said


def _order(path: Path) -> tuple[int, str]:
    """Run folders in the order of their numbers."""
    number = path.parent.name.partition("-")[0]
    return (int(number) if number.isdigit() else 0, path.parent.name)
