"""What follows from how a run ended: it is told to the study, or the cell is to run again."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra_plugins.hydra_study_sweeper import run_folder
from hydra_plugins.hydra_study_sweeper._display import Board
from hydra_plugins.hydra_study_sweeper._jobs import Flight, Flights
from hydra_plugins.hydra_study_sweeper._trials import ENDED, Ledger, Queue, Record
from hydra_plugins.hydra_study_sweeper.config import StudySweeperConf
from hydra_plugins.hydra_study_sweeper.run_folder import outcome


class Judge:
    """Judges the runs of a sweep.

    Args:
        settings: The sweeper's.
        groups: The axes that are config groups.
        ledger: Knows the runs before.
    """

    def __init__(self, settings: StudySweeperConf, groups: Sequence[str], ledger: Ledger) -> None:
        self.settings, self.groups, self.ledger = settings, groups, ledger
        self.folder = ledger.folder
        self.other_data: str | None = None  # what is wrong with the data, once that is so
        self._data: dict[tuple[str, ...], tuple[str, str]] = {}

    def outcome(self, record: Record, result: Any = None) -> dict[str, Any]:
        """What the run says of itself, or else its launcher (`result`)."""
        return outcome(self.folder / record.folder, result, len(self.ledger.study.directions))

    def settled(self, record: Record) -> dict[str, Any] | None:
        """How a run ended, if it did without its sweeper: None when there is more to do."""
        metrics = run_folder.read_result(self.folder / record.folder)
        if metrics is None or metrics["status"] not in ENDED:
            return None
        return self.outcome(record)

    def judge(self, record: Record, result: Any, late: bool) -> dict[str, Any]:
        """The end that counts; one that the run did not write itself is written to its folder."""
        end = self.outcome(record, result)
        if late:
            limit = f"{self.settings.key('timeout_s')}={self.settings.timeout_s:g}"
            told = f"ran longer than {limit}, and was ended"
            end = {**end, "status": "failed", "error": told}
        elif end["status"] == "finished" and (wrong := self._wrong_data(record, end)):
            self.other_data = wrong
            end = {**end, "status": "failed", "error": wrong}
        if end["status"] == "failed":
            run_folder.record_failure(self.folder / record.folder, end["error"])
        return end

    def _wrong_data(self, record: Record, end: dict[str, Any]) -> str | None:
        """How the run's data differ from those of the runs before it, if they do."""
        found = end.get("data_fingerprint")
        if found is None:
            return None
        if not self._data:
            for known in self.ledger.records.values():
                if known.state == "finished" and known.result.get("data_fingerprint"):
                    about = (known.result["data_fingerprint"], known.folder)
                    self._data.setdefault(self._place(known), about)
        before, where = self._data.setdefault(self._place(record), (found, record.folder))
        if before == found:
            return None
        return f"the data changed: {found} in {record.folder}, {before} in {where}"

    def _place(self, record: Record) -> tuple[str, ...]:
        """The values that may decide what a run's data are: group choices, axes of the data."""
        below = f"{self.settings.data_key}."
        return tuple(
            value
            for key, value in record.values.items()
            if key in self.groups or key.lstrip("+").startswith(below)
        )


class Checkpoints:
    """Those of the sweep in `folder`.

    Args:
        folder: The sweep's folder.
        keep_best: Runs whose best.ckpt is kept; None keeps all of everything.
        ranking: Sorts records, the best first; None where several objectives rank nothing.
    """

    def __init__(
        self,
        folder: Path,
        keep_best: int | None,
        ranking: Callable[[Iterable[Record]], list[Record]] | None,
    ) -> None:
        self.folder, self.keep_best, self.ranking = folder, keep_best, ranking
        self._kept: list[Record] = []

    def know(self, records: Iterable[Record]) -> None:
        """Take in what had ended before."""
        if self.ranking is not None:
            self._kept = self.ranking(records)[: self.keep_best or 0]

    def tidy(self, record: Record) -> None:
        """Delete what is no longer needed now that `record` has ended."""
        if self.keep_best is None:
            return
        run_folder.delete_checkpoint(self.folder / record.folder, run_folder.LAST)
        if self.ranking is not None:
            rivals = {r.number: r for r in (*self._kept, record)}
            self._kept = self.ranking(rivals.values())[: self.keep_best]
            for dropped in rivals.keys() - {r.number for r in self._kept}:
                run_folder.delete_checkpoint(self.folder / rivals[dropped].folder, run_folder.BEST)


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
            self.stop(f"a trial failed, and {self.settings.key('on_error')}=stop")
        return False

    def _retries(self, record: Record, end: dict[str, Any]) -> bool:
        """Whether it is tried again, from the last checkpoint; that is said, and counted."""
        failures = record.trial.user_attrs.get("failures", 0) + 1
        over = failures > self.settings.max_retries or self.flights.stopping
        if over or end["status"] not in ("failed", "interrupted"):
            return False
        turn = f"{failures}/{self.settings.max_retries}"
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
            if run_folder.is_locked(self.ledger.folder / record.folder):
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
