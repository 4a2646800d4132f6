"""What follows from how a run ended: it is told to the study, or the cell is to run again."""

from typing import Any

from hydra_plugins import _study_folder as folders
from hydra_plugins._study_board import Board
from hydra_plugins._study_checkpoints import Checkpoints
from hydra_plugins._study_flights import Flight, Flights
from hydra_plugins._study_judge import Judge
from hydra_plugins._study_ledger import Ledger
from hydra_plugins._study_queue import Queue
from hydra_plugins._study_record import ENDED, Record
from hydra_plugins._study_settings import StudySweeperConf


class Ends:
    """The ends of a sweep's runs, of this sweeper's and of those that died.

    Args:
        settings: The sweeper's.
        ledger: All records.
        judge: Says how a run ended.
        queue: What waits.
        flights: The runs under way.
        board: What a user sees.
    """

    def __init__(
        self,
        settings: StudySweeperConf,
        ledger: Ledger,
        judge: Judge,
        queue: Queue,
        flights: Flights,
        board: Board,
    ) -> None:
        self.settings, self.ledger, self.judge = settings, ledger, judge
        self.queue, self.flights, self.board = queue, flights, board
        ranking = board.ranking if len(board.directions) == 1 else None
        self.checkpoints = Checkpoints(ledger.folder, settings.keep_best, ranking)

    def see(self) -> None:
        """Take in what this sweeper or another one has changed."""
        changed = self.ledger.changes()
        self.board.update(changed)
        self.queue.take_in(changed)

    def ended(self, flight: Flight) -> bool:
        """Write down how a run ended; True when it shall run again at once.

        One that does has not failed yet, as far as `on_error` goes.
        """
        record = flight.record
        end = self.judge.judge(record, flight.result, flight.late)
        if self.judge.other_data:
            self.stop(self.judge.other_data)
        if self._retries(record, end):
            return True
        if end["status"] in ENDED:
            self.finish(record, end)
        else:
            self._release(record, end)
        if end["status"] == "failed" and self.settings.on_error == "stop":
            self.stop("a trial failed, and on_error=stop")
        return False

    def _retries(self, record: Record, end: dict[str, Any]) -> bool:
        """Whether it is tried again, from the last checkpoint; that is said, and counted."""
        failures = record.trial.user_attrs.get("failures", 0) + 1
        over = failures > self.settings.retries or self.flights.stopping
        if over or end["status"] not in ("failed", "interrupted"):
            return False
        turn = f"{failures}/{self.settings.retries}"
        self.board.say(f"again ({turn}): {record.folder}: {end['error']}")
        self.ledger.note_failure(record, failures)
        return True

    def _release(self, record: Record, end: dict[str, Any]) -> None:
        """Leave a cell that was stopped to the next command."""
        for one in (record, *self._twins_of(record)):
            self.queue.left.add(one.number)
            self.ledger.release(one, end["status"], end.get("error"))
        self.see()
        self.board.ended(record)

    def finish(self, record: Record, end: dict[str, Any]) -> None:
        """Tell the study."""
        self.ledger.finish(record, ENDED[end["status"]], end)
        self.see()
        self.board.ended(record)
        if end["status"] != "failed":
            self.checkpoints.tidy(record)
        for other in self._twins_of(record):
            self.finish(other, end)

    def _twins_of(self, record: Record) -> list[Record]:
        """A search's repeated suggestions of this cell, which get its result."""
        if self.queue.wanted is not None:
            return []
        records = self.ledger.records.values()
        same = (r for r in records if r.identity == record.identity and r is not record)
        return [r for r in same if r.state == "running" and r.number not in self.flights]

    def take_over_the_dead(self) -> None:
        """Settle the cells of sweepers that died: told from metrics.json, or pending again."""
        for record in self.ledger.abandoned():
            if folders.is_locked(self.ledger.folder / record.folder):
                continue  # its run is still saving
            if (end := self.judge.settled(record)) is not None:
                self.finish(record, end)
            elif self.ledger.take_over(record):
                self.see()

    def stop(self, why: str) -> None:
        """Start nothing more, and let the runs in flight save and stop."""
        if not self.flights.stopping:
            self.board.say(why)
            self.flights.stop()
