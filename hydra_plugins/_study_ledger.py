"""Who runs which cell: records that are claimed once, whoever dies.

Nothing here needs a lock that a kill could leave behind: a claim is the storage's own step from
WAITING to RUNNING, a takeover is its step from RUNNING to FAIL (each succeeds for one caller only),
followed by a new WAITING attempt with the same number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from hydra_plugins._study_entries import Entries
from hydra_plugins._study_outcome import as_floats
from hydra_plugins._study_record import Record
from hydra_plugins._study_space import Cell
from hydra_plugins._study_workers import Worker


class Ledger(Entries):
    """The records of one study, and which of them this worker runs."""

    def __init__(self, url: str, name: str, directions: Sequence[Any], folder: Path) -> None:
        super().__init__(url, name, directions, folder)
        self.mine: set[int] = set()  # trial ids that this worker runs
        self.worker = Worker(self.study)

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
        self.storage.set_trial_user_attr(trial._trial_id, "cell", asdict(cell))
        self.sync()
        return self.records[trial.number]

    def finish(self, record: Record, state: TrialState, result: Mapping[str, Any]) -> None:
        """Tell the study how a cell ended. Told once: a second teller changes nothing."""
        trial_id = record.trial._trial_id
        values = as_floats(result.get("objective")) if state is TrialState.COMPLETE else None
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

    def note_failure(self, record: Record, failures: int) -> None:
        """Keep how often a cell has failed that is tried again at once."""
        self.storage.set_trial_user_attr(record.trial._trial_id, "failures", failures)
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
