"""The cells of a sweep as records: each one cell and its attempts, which are Optuna trials."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState

ENDED = {  # statuses of runs of which nothing is left to do, and what the study calls them
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


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
        names = {state: name for name, state in ENDED.items()}
        return names.get(self.trial.state, "running")

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""
        return self.state in ENDED
