"""One sweeper at work: it claims cells, launches them, and writes down how each ended."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf
from optuna.trial import TrialState

from hydra_plugins import _study_board as boards
from hydra_plugins import _study_folder as folders
from hydra_plugins import _study_search as searches
from hydra_plugins._study_flights import Flight, Flights, prepare
from hydra_plugins._study_judge import Judge
from hydra_plugins._study_ledger import Ledger, Record
from hydra_plugins._study_space import Cell, Composer, quoted
from hydra_plugins._study_start import STATES, rebuild, refuse_what_differs
from hydra_plugins._study_storage import make_pruner
from hydra_plugins.study_sweeper import StudySweeperConf, directions, load

TICK_S = 0.5
STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Run:
    """The sweep in `folder`, as this process runs it.

    Args:
        settings: The sweeper's.
        folder: The sweep's folder.
        composer: Makes a search's cells.
        cells: A grid's cells, in their order; none for a search.
        launcher: Any Hydra launcher; it is called from several threads, one job each.
        signature: The command, and what must not change between two of this sweep.

    Raises:
        ValueError: The folder cannot be written, or the results would not be comparable.
    """

    def __init__(
        self,
        settings: StudySweeperConf,
        folder: Path,
        composer: Composer,
        cells: Sequence[Cell],
        launcher: Launcher,
        signature: dict[str, Any],
    ) -> None:
        self.settings, self.folder, self.composer = settings, folder, composer
        self.wanted = {cell.identity for cell in cells}
        self.cells, self.launcher, self.space = cells, launcher, composer.space
        self.search = searches.distributions(self.space) if self.space.intervals else None
        make_pruner(settings.prune)
        self.directions = directions(settings.direction)
        self.url = settings.storage or str(folder / "study.journal")
        self.todo: dict[int, None] = {}  # numbers that wait, in their order
        self.left: set[int] = set()  # ended without a result; the next command goes on with them
        self.kept: set[int] = set()  # whose best.ckpt is kept
        self.flights = Flights(launcher, folder, settings.timeout_s, settings.grace_s)
        self.signals, self._ticked = 0, 0.0
        self._open(signature)

    def _open(self, signature: dict[str, Any]) -> None:
        """Open the sweep's folder and study, and enter the cells that are new."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = self.folder.name
            self.ledger = Ledger(self.url, name, self.directions, self.folder)
            self.judge = Judge(self.settings, self.folder, self.composer.groups, self.ledger)
            self.board = boards.Board(self.folder, self.space.keys, self.directions, 1)
            refuse_what_differs(self.folder, signature, self.ledger)
            if not self.ledger.records:
                lines = rebuild(self.ledger, self.cells, self.composer, self.search)
                self.board.say("\n".join(lines)) if lines else None
            text = OmegaConf.to_yaml(OmegaConf.create(signature))
            folders.write_atomically(self.folder / "sweep.yaml", text)
            self.ledger.add(self.cells, self.space.choices)
            self.ledger.study.set_user_attr("signature", signature)
        except OSError as error:
            raise ValueError(f"cannot write {self.folder}: {error.strerror}") from error
        self._see()
        self.kept = {r.number for r in self.board.ranking()[: self.settings.keep_best or 0]}

    def go(self) -> int:
        """Run what is missing; the exit code."""
        self._again()
        self._take_over_the_dead()
        to_run = self._to_run()
        if to_run:
            self.board.jobs = prepare(self.launcher, self.settings.jobs)
        disk = self._disk(to_run)
        self.board.say(self.board.plan(to_run, disk))
        if self.settings.dry_run:
            self.board.say("not started")
            return 0
        if disk is not None and disk > (free := shutil.disk_usage(self.folder).free):
            raise ValueError(
                f"the sweep needs about {disk / 1e9:.3g} GB, and {free / 1e9:.3g} are free"
            )
        if not to_run:
            self.board.say("nothing to do")
        try:
            self._run()
            return self._close()
        except OSError as error:
            self.flights.stop()  # this process ends when they have
            raise ValueError(
                f"cannot write {self.folder}: {error.strerror}; then the same command goes on"
            ) from error

    def _again(self) -> None:
        """Make pending what failed, if asked to, and what a dead sweeper left halfway."""
        settings = self.settings
        for record in list(self.ledger.records.values()):
            if not self._is_wanted(record):
                continue
            failures = record.trial.user_attrs.get("failures", 0)
            if record.state == "failed" and (settings.rerun_failed or failures < settings.retries):
                anew = settings.rerun_failed
                self.ledger.again(record, "failed", failures=0 if anew else failures + 1, anew=anew)
            elif record.trial.state is TrialState.FAIL and record.state == "interrupted":
                self.ledger.again(record, "interrupted")
        self._see()
        self.todo = dict.fromkeys(sorted(self.todo))

    def _to_run(self) -> int:
        """How many runs are still to be started, as far as is known."""
        fresh = 0
        if self.search is not None and not self.flights.stopping:
            fresh = max(0, self.settings.n_trials - len(self.ledger.records))
        return len(self.todo) + fresh

    def _disk(self, to_run: int) -> int | None:
        """Bytes that the runs will need, from those that have ended or the project's estimate."""
        if not to_run:
            return 0
        ended = [r for r in self.ledger.records.values() if r.state == "finished"][-20:]
        if ended:
            sizes = [folders.size(self.folder / record.folder) for record in ended]
            return sum(sizes) * to_run // len(sizes)
        estimate = load(self.settings.estimate)
        if estimate is None:
            return None
        under_way, when_ended = estimate(self.composer.full(next(self.space.grid())))
        return int(under_way * self.board.jobs + when_ended * to_run)

    # -- while it runs

    def _run(self) -> None:
        """Keep as many runs in flight as there are jobs, until there is nothing left to start."""
        before = {n: signal.signal(n, self._on_signal) for n in STOP_SIGNALS} if _main() else {}
        self.board.start()
        try:
            while True:
                while len(self.flights) < self.board.jobs and self._start_next():
                    pass
                if not self.flights and (self.flights.stopping or self._all_done()):
                    return
                self._wait()
        finally:
            self.board.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _all_done(self) -> bool:
        """Whether no other worker's cell may still fall to this one."""
        if self._to_run() > 0:
            return False
        self.ledger.sync()
        self._see()
        records = self.ledger.records.values()
        return not any(r.state == "running" and self._is_wanted(r) for r in records)

    def _start_next(self) -> bool:
        """Claim a cell and launch it; False when there is none to be had now."""
        if self.flights.stopping:
            return False
        while self.todo:
            number = next(iter(self.todo))
            del self.todo[number]
            record = self.ledger.records[number]
            if record.trial.state is TrialState.WAITING and self.ledger.claim(record):
                self._begin(record)
                return True
        if self.search is not None and len(self.ledger.records) < self.settings.n_trials:
            self._begin(self._ask())
            return True
        return False

    def _ask(self) -> Record:
        """A new cell from the sampler."""
        assert self.search is not None
        settings = self.settings
        number = len(self.ledger.records)
        sampler = searches.sampler(settings.sampler, settings.sampler_seed, number)
        trial = self.ledger.ask(sampler, self.search)
        values = {key: searches.as_override(value) for key, value in trial.params.items()}
        return self.ledger.name_asked(trial, self.composer.cell(values))

    def _begin(self, record: Record) -> None:
        """Launch a claimed cell, unless its result is known, or will be."""
        twin = self.ledger.twin(record)
        if twin is not None:
            if twin.ended:
                self._finish(record, twin.result)
            return  # else it gets the result of the earlier suggestion, when that has one
        end = self.judge.settled(record)
        if end is not None and end["status"] != "failed":
            self._finish(record, end)
            return
        anew = record.trial.user_attrs.get("anew", False)
        folders.make_ready(self.folder / record.folder, anew=anew)
        self.flights.start(record, self._overrides(record))
        self._see()

    def _overrides(self, record: Record) -> list[str]:
        """The run's command line."""
        place = [
            f"hydra.sweep.dir={quoted(str(self.folder))}",
            f"hydra.sweep.subdir={quoted(record.folder)}",
        ]
        if self.settings.prune != "none":
            told = f"storage:{quoted(self.url)},study:{quoted(self.folder.name)}"
            told += f",number:{record.trial.number},prune:{self.settings.prune}"
            place.append(f"++{self.settings.trial_key}={{{told}}}")
        return [*self.space.overrides(record.values), *place]

    def _wait(self) -> None:
        """Until a run ends or a while has passed; then see to it."""
        if (flight := self.flights.landed(TICK_S)) is not None:
            self._ended(flight)
        if time.monotonic() - self._ticked > TICK_S:
            self._ticked = time.monotonic()
            self.ledger.sync()
            self._see()
            self._take_over_the_dead()
            self.flights.watch()
        self.board.draw(self._to_run() + len(self.flights), self.flights.values())

    def _see(self) -> None:
        """Take in what this sweeper or another one has changed."""
        changed = self.ledger.changes()
        self.board.update(changed)
        for record in changed:
            waits = record.trial.state is TrialState.WAITING and self._is_wanted(record)
            if waits and record.number not in self.left:
                self.todo[record.number] = None

    def _is_wanted(self, record: Record) -> bool:
        """Whether the record belongs to this command."""
        return self.search is not None or record.identity in self.wanted

    def _take_over_the_dead(self) -> None:
        """Settle the cells of sweepers that died: told from metrics.json, or pending again."""
        for record in self.ledger.abandoned():
            if folders.is_locked(self.folder / record.folder):
                continue  # its run is still saving
            if (end := self.judge.settled(record)) is not None:
                self._finish(record, end)
            elif self.ledger.take_over(record):
                self._see()

    def _ended(self, flight: Flight) -> None:
        """Write down how a run ended, or run it again."""
        record = flight.record
        end = self.judge.judge(record, flight.result, flight.late)
        failures = record.trial.user_attrs.get("failures", 0)
        again = end["status"] in ("failed", "interrupted") and failures < self.settings.retries
        if self.judge.other_data:
            self._stop(self.judge.other_data)
        if again and not self.flights.stopping:
            self._retry(record, end, failures + 1)
        elif end["status"] in STATES:
            self._finish(record, end)
        else:
            for one in (record, *self._twins_of(record)):
                self.left.add(one.number)
                self.ledger.release(one, end["status"], end.get("error"))
            self._see()
            self.board.ended(record)
        if end["status"] == "failed" and self.settings.on_error == "stop":
            self._stop("a trial failed, and on_error=stop")

    def _retry(self, record: Record, end: dict[str, Any], failures: int) -> None:
        """Another attempt at once, from the last checkpoint."""
        turn = f"{failures}/{self.settings.retries}"
        self.board.say(f"again ({turn}): {record.folder}: {end['error']}")
        self.ledger.storage.set_trial_user_attr(record.trial._trial_id, "failures", failures)
        self.ledger.sync()
        self._begin(record)

    def _finish(self, record: Record, end: dict[str, Any]) -> None:
        """Tell the study."""
        self.ledger.finish(record, STATES[end["status"]], end)
        self._see()
        self.board.ended(record)
        if end["status"] != "failed" and self.settings.keep_best is not None:
            self._tidy(record)
        for other in self._twins_of(record):
            self._finish(other, end)

    def _twins_of(self, record: Record) -> list[Record]:
        """A search's repeated suggestions of this cell, which get its result."""
        if self.search is None:
            return []
        records = self.ledger.records.values()
        same = (r for r in records if r.identity == record.identity and r is not record)
        return [r for r in same if r.state == "running" and r.number not in self.flights]

    def _tidy(self, record: Record) -> None:
        """Delete what is no longer needed: `last` here, `best` of all but the best."""
        folders.delete(self.folder / record.folder, folders.LAST)
        if len(self.directions) == 1:
            rivals = [self.ledger.records[number] for number in {*self.kept, record.number}]
            keep = {r.number for r in self.board.ranking(rivals)[: self.settings.keep_best]}
            for other in rivals:
                if other.number not in keep:
                    folders.delete(self.folder / other.folder, folders.BEST)
            self.kept = keep

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Once: runs save and stop, the rest stays pending. Twice: now."""
        self.signals += 1
        if self.signals == 1:
            self._stop("stopping: runs in flight save and stop; once more ends them now")
        elif self.signals == 2:
            self.flights.kill()
        else:
            os._exit(130)

    def _stop(self, why: str) -> None:
        """Start nothing more, and let the runs in flight save and stop."""
        if not self.flights.stopping:
            self.board.say(why)
            self.flights.stop()

    def _close(self) -> int:
        """The final table, a search's plots, and the exit code."""
        self.ledger.sync()
        self._see()
        self.board.write_csv()
        self.board.summary()
        if self.judge.other_data:
            raise ValueError(self.judge.other_data)
        stopped = self.flights.stopping
        if self.search is not None and not stopped:
            plots = self.folder / "plots"
            told = searches.plots(self.ledger.study, plots, len(self.directions) > 1)
            self.board.say(told or f"plots: {plots}")
        if self.signals:
            return 130
        if self.left:
            self.board.say(f"{len(self.left)} interrupted: the same command goes on with them")
        if failed := self.board.counts().get("failed", 0):
            self.board.say(f"{failed} failed: rerun_failed=true runs them again")
        return 1 if failed or self.left or stopped else 0


def _main() -> bool:
    return threading.current_thread() is threading.main_thread()
