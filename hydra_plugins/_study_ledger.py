"""Who runs which cell: the study's trials as records that are claimed once, whoever dies.

A record is one cell; its attempts are Optuna trials, of which the last counts. Nothing here needs a
lock that a kill could leave behind: a claim is the storage's own step from WAITING to RUNNING, a
takeover is its step from RUNNING to FAIL (each succeeds for one caller only), followed by a new
WAITING attempt with the same number; of two equal attempts the lower trial number counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from hydra_plugins._study_search import from_override
from hydra_plugins._study_space import Cell, folder_name
from hydra_plugins._study_storage import FlockLock, get_lock_file, open_storage
from hydra_plugins._study_workers import Worker


@dataclass
class Record:
    """One cell and its attempts. `number` names its folder, and stays when an attempt is redone."""

    number: int
    identity: str
    values: Mapping[str, str]
    folder: str
    attempts: dict[int, FrozenTrial] = field(default_factory=dict)

    @property
    def trial(self) -> FrozenTrial:
        """The attempt that counts."""
        return self.attempts[max(self.attempts)]

    @property
    def result(self) -> dict[str, Any]:
        """What is known of the last attempt: status, error, wall_s."""
        attrs = self.trial.user_attrs
        if self.trial.state is TrialState.WAITING:
            return {"status": self.state, "error": attrs.get("why")}
        result: dict[str, Any] = attrs.get("result", {})
        return result

    @property
    def state(self) -> str:
        """One of pending, running, finished, pruned, failed, stopped, interrupted."""
        if self.trial.state is TrialState.WAITING:
            return str(self.trial.user_attrs.get("was", "pending"))
        if self.trial.state is TrialState.FAIL:
            return str(self.result.get("status", "failed"))
        names = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned"}
        return names.get(self.trial.state, "running")

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""
        return self.state in ("finished", "pruned", "failed")


class Ledger:
    """The records of one study in one storage, seen and changed by one worker."""

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
        self.mine: set[int] = set()  # trial ids that this worker runs
        self.worker = Worker(self.study)
        self._study_id = self.storage.get_study_id_from_name(name)
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
                    content = {"identity": cell.identity, "values": dict(cell.values)}
                    attrs = {"cell": content, "grid": True}
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
        attrs["cell"] = {"identity": cell.identity, "values": dict(cell.values)}
        params = {k: from_override(cell.values[k], one) for k, one in (space or {}).items()}
        values = as_floats(result.get("objective")) if state is _COMPLETE else None
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

    def claim(self, record: Record) -> bool:
        """Take a waiting cell; True for one worker only."""
        trial_id = record.trial._trial_id
        try:
            self.storage.set_trial_user_attr(trial_id, f"worker:{self.worker.name}", True)
            won = self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            won = False
        if won:
            self.mine.add(trial_id)
        self.sync()
        return won

    def ask(
        self, sampler: optuna.samplers.BaseSampler, space: Mapping[str, BaseDistribution]
    ) -> Any:
        """A new trial of a search, already claimed, with the sampler's parameters."""
        claimed = optuna.trial.create_trial(
            state=TrialState.RUNNING, user_attrs={f"worker:{self.worker.name}": True}
        )
        trial_id = self.storage.create_new_trial(self._study_id, claimed)
        self.mine.add(trial_id)
        self.study.sampler = sampler
        trial = optuna.Trial(self.study, trial_id)
        for name, one in space.items():
            trial._suggest(name, one)
        return trial

    def name_asked(self, trial: Any, cell: Cell) -> Record:
        """Say which cell an asked-for trial is."""
        content = {"identity": cell.identity, "values": dict(cell.values)}
        self.storage.set_trial_user_attr(trial._trial_id, "cell", content)
        self.sync()
        return self.records[trial.number]

    def finish(self, record: Record, state: TrialState, result: Mapping[str, Any]) -> None:
        """Tell the study how a cell ended. Told once: a second teller changes nothing."""
        trial_id = record.trial._trial_id
        values = as_floats(result.get("objective")) if state is _COMPLETE else None
        try:
            self.storage.set_trial_user_attr(trial_id, "result", dict(result))
            if record.trial.state is TrialState.RUNNING:
                self.study.tell(record.trial.number, values, state=state)
            else:
                self.storage.set_trial_state_values(trial_id, state, values)
        except (UpdateFinishedTrialError, ValueError):
            pass
        self.mine.discard(trial_id)
        self.sync()

    def release(self, record: Record, was: str, why: str | None) -> None:
        """Give back a cell that was stopped: the same command goes on with it."""
        trial_id = record.trial._trial_id
        self.storage.set_trial_user_attr(trial_id, "was", was)
        self.storage.set_trial_user_attr(trial_id, "why", why)
        self.storage.set_trial_state_values(trial_id, TrialState.WAITING)
        self.mine.discard(trial_id)
        self.sync()

    def abandoned(self) -> list[Record]:
        """The records that count as running, and whose worker is dead."""
        self.worker.show_life()
        return [
            record
            for record in self.records.values()
            if record.trial.state is TrialState.RUNNING
            and record.trial._trial_id not in self.mine
            and not any(self.worker.knows_alive(worker) for worker in _workers(record.trial))
        ]

    def take_over(self, record: Record) -> bool:
        """Make a dead worker's cell pending again; True for the one caller that did it."""
        trial_id = record.trial._trial_id
        try:
            self.storage.set_trial_user_attr(trial_id, "result", {"status": "interrupted"})
            self.storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            self.sync()
            return False
        self.sync()
        self.again(record, "interrupted")
        return True


def _workers(trial: FrozenTrial) -> list[str]:
    """Those who wanted the trial; its owner is among them."""
    return [key.removeprefix("worker:") for key in trial.user_attrs if key.startswith("worker:")]


def as_floats(objective: Any) -> list[float] | None:
    """The objective as a list of numbers; None when it is not one, or not a number at all."""
    values = objective if isinstance(objective, list) else [objective]
    if any(not isinstance(v, int | float) or v != v for v in values):
        return None
    return [float(v) for v in values]


def distribution(values: Sequence[str]) -> BaseDistribution:
    """What Optuna and its dashboard are told about an axis of `values`."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return CategoricalDistribution(list(values))
    return FloatDistribution(min(numbers), max(numbers))


def _typed(value: str, among: BaseDistribution) -> Any:
    return float(value) if isinstance(among, FloatDistribution) else value


_COMPLETE = TrialState.COMPLETE
