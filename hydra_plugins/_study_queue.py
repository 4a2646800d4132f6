"""What a command still has to run: the records that wait, then a search's new cells."""

from collections.abc import Iterable

from optuna.trial import TrialState

from hydra_plugins._study_ledger import Ledger
from hydra_plugins._study_record import Record


class Queue:
    """The records of `ledger` that this command is to run, in their order.

    Args:
        ledger: All records of the sweep.
        wanted: Identities of a grid's cells; None for a search, to which all records belong.
        trials: How many records a search is to have.
    """

    def __init__(self, ledger: Ledger, wanted: set[str] | None, trials: int) -> None:
        self.ledger, self.wanted, self.trials = ledger, wanted, trials
        self.left: set[int] = set()  # ended without a result; the next command goes on with them
        self._waiting: dict[int, None] = {}  # numbers, in their order

    def take_in(self, changed: Iterable[Record]) -> None:
        """See to records that have changed."""
        for record in changed:
            waits = record.trial.state is TrialState.WAITING and self.wants(record)
            if waits and record.number not in self.left:
                self._waiting[record.number] = None

    def sort(self) -> None:
        """Let those that wait run in the order of their numbers."""
        self._waiting = dict.fromkeys(sorted(self._waiting))

    def wants(self, record: Record) -> bool:
        """Whether the record belongs to this command."""
        return self.wanted is None or record.identity in self.wanted

    def to_run(self) -> int:
        """How many runs are still to be started, as far as is known."""
        return len(self._waiting) + self.unasked()

    def unasked(self) -> int:
        """How many cells a search still asks its sampler for."""
        return max(0, self.trials - len(self.ledger.records)) if self.wanted is None else 0

    def claim(self) -> Record | None:
        """The first waiting record that nobody else has claimed, claimed."""
        while self._waiting:
            number = next(iter(self._waiting))
            del self._waiting[number]
            record = self.ledger.records[number]
            if record.trial.state is TrialState.WAITING and self.ledger.claim(record):
                return record
        return None

    def any_running(self) -> bool:
        """Whether a worker runs a record of this command, which may still fall to this one."""
        records = self.ledger.records.values()
        return any(r.state == "running" and self.wants(r) for r in records)

    def again(self, retries: int, *, failed: bool) -> None:
        """Make pending what a dead sweeper left halfway, and what failed: up to `retries` times.

        With `failed` whatever has failed, from its beginning.
        """
        for record in list(self.ledger.records.values()):
            if not self.wants(record):
                continue
            failures = record.trial.user_attrs.get("failures", 0)
            if record.state == "failed" and (failed or failures < retries):
                failures = 0 if failed else failures + 1
                self.ledger.again(record, "failed", failures=failures, anew=failed)
            elif record.trial.state is TrialState.FAIL and record.state == "interrupted":
                self.ledger.again(record, "interrupted")
