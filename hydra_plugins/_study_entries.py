"""The cells of a sweep as entries of its study: read as they change, and entered once each.

Of a record's attempts the last counts, and of two equal attempts that with the lower trial number;
of two records of one cell of a grid the lower number.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from hydra_plugins._study_journal import FlockLock, get_lock_file
from hydra_plugins._study_outcome import as_floats
from hydra_plugins._study_record import Record
from hydra_plugins._study_search import from_override
from hydra_plugins._study_space import Cell, folder_name
from hydra_plugins._study_storage import open_storage


class Entries:
    """The records of one study in one storage, and how they stand."""

    def __init__(self, url: str, name: str, directions: Sequence[Any], folder: Path) -> None:
        self.storage, self.folder = open_storage(url), folder
        self.study = optuna.create_study(
            study_name=name,
            storage=self.storage,
            directions=list(directions),
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),
        )
        found = [direction.name.lower() for direction in self.study.directions]
        if found != list(directions):
            raise ValueError(f"{folder} has direction {found}, not {list(directions)}")
        self.records: dict[int, Record] = {}
        self.by_identity: dict[str, int] = {}  # the lowest number that has it
        self._study_id = self.study._study_id
        self._seen: list[FrozenTrial] = []
        self._changed: dict[int, Record] = {}
        self.sync()

    def sync(self) -> None:
        """Read what has changed."""
        trials = self.storage.get_all_trials(self._study_id, deepcopy=False)
        for index, trial in enumerate(trials):
            if index < len(self._seen) and trial is self._seen[index]:
                continue
            if (record := self._place(trial)) is not None:
                self._changed[record.number] = record
        self._seen = trials

    def changes(self) -> list[Record]:
        """The records that have changed since this was asked last."""
        changed, self._changed = self._changed, {}
        return list(changed.values())

    def _place(self, trial: FrozenTrial) -> Record | None:
        attrs = trial.user_attrs
        if "cell" not in attrs:
            return None  # its sweeper died while it was being asked for
        number = attrs.get("number", trial.number)
        values = attrs["cell"]["values"]
        folder = attrs.get("folder") or folder_name(number, values)
        first = self.by_identity.get(attrs["cell"]["identity"], number)
        if first < number and attrs.get("grid"):
            return None  # two machines entered the cell at the same moment: the first entry counts
        new = Record(number, attrs["cell"]["identity"], values, folder)
        record = self.records.setdefault(number, new)
        attempt = attrs.get("attempt", 0)
        known = record.attempts.get(attempt)
        if known is not None and known.number < trial.number:
            return None
        record.attempts[attempt] = trial
        self.by_identity[record.identity] = min(first, number)
        return record

    def twin(self, record: Record) -> Record | None:
        """An earlier record of the same cell, if there is one."""
        first = self.by_identity[record.identity]
        return self.records[first] if first < record.number else None

    def add(self, cells: Iterable[Cell], axes: Mapping[str, Sequence[str]]) -> None:
        """Enter the cells that no record has yet, in their order."""
        distributions = {key: distribution(values) for key, values in axes.items()}
        with get_lock_file(FlockLock(str(self.folder / ".fill.lock"))):
            self.sync()
            for cell in cells:
                if cell.identity not in self.by_identity:
                    attrs = {"cell": asdict(cell), "grid": True}
                    params = {k: _typed(v, distributions[k]) for k, v in cell.values.items()}
                    self._create(attrs, params, distributions)
            self.sync()

    def adopt(
        self,
        cell: Cell,
        folder: str,
        state: TrialState,
        result: dict[str, Any],
        space: Mapping[str, BaseDistribution] | None,
    ) -> None:
        """Enter a cell whose run folder is there although the study has lost it."""
        attrs: dict[str, Any] = {"folder": folder, "was": result["status"], "result": result}
        attrs["cell"] = asdict(cell)
        params = {k: from_override(cell.values[k], one) for k, one in (space or {}).items()}
        values = as_floats(result.get("objective")) if state is TrialState.COMPLETE else None
        self._create(attrs, params, space or {}, state=state, values=values)
        self.sync()

    def again(self, record: Record, was: str, **attrs: Any) -> None:
        """Enter another attempt at a cell whose last attempt has ended."""
        old = record.trial
        kept = {k: v for k, v in old.user_attrs.items() if k in ("cell", "failures")}
        new = {"number": record.number, "attempt": max(record.attempts) + 1, "was": was}
        self._create(
            {**kept, **new, "folder": record.folder, **attrs},
            old.params,
            old.distributions,
            intermediate_values=old.intermediate_values,
            system_attrs=old.system_attrs,
        )
        self.sync()

    def _create(
        self,
        attrs: Mapping[str, Any],
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        state: TrialState = TrialState.WAITING,
        **more: Any,
    ) -> None:
        template = optuna.trial.create_trial(
            state=state,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs=dict(attrs),
            **more,
        )
        try:
            self.storage.create_new_trial(self._study_id, template)
        except ValueError:  # a database refuses a grown axis' new choices: its parameters stay out
            template.params, template.distributions = {}, {}
            self.storage.create_new_trial(self._study_id, template)


def distribution(values: Sequence[str]) -> BaseDistribution:
    """What Optuna and its dashboard are told about an axis of `values`."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return CategoricalDistribution(list(values))
    return FloatDistribution(min(numbers), max(numbers))


def _typed(value: str, among: BaseDistribution) -> Any:
    return float(value) if isinstance(among, FloatDistribution) else value
