"""One sweeper at work: it keeps as many runs under way as it may, until nothing is left."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf
from optuna.distributions import BaseDistribution

from hydra_plugins.hydra_study_sweeper import _samplers, run_folder
from hydra_plugins.hydra_study_sweeper._composer import Composer
from hydra_plugins.hydra_study_sweeper._display import Board
from hydra_plugins.hydra_study_sweeper._jobs import Flights, prepare
from hydra_plugins.hydra_study_sweeper._results import Ends, Judge
from hydra_plugins.hydra_study_sweeper._resume import rebuild, refuse_what_differs
from hydra_plugins.hydra_study_sweeper._space import Cell, quoted
from hydra_plugins.hydra_study_sweeper._trials import Entries, Ledger, Queue, Record
from hydra_plugins.hydra_study_sweeper.config import StudySweeperConf, directions, load
from hydra_plugins.hydra_study_sweeper.run_folder import size


def needed(
    settings: StudySweeperConf, entries: Entries, composer: Composer, jobs: int, to_run: int
) -> int | None:
    """Bytes for `to_run` runs, as the last that ended took, or as the project estimates."""
    if not to_run:
        return 0
    ended = [r for r in entries.records.values() if r.state == "finished"][-20:]
    if ended:
        return sum(size(entries.folder / r.folder) for r in ended) * to_run // len(ended)
    estimate = load(settings.estimate)
    if estimate is None:
        return None
    under_way, when_ended = estimate(composer.full(next(composer.space.grid())))
    return int(under_way * jobs + when_ended * to_run)


def refuse_if_full(folder: Path, disk: int | None) -> None:
    """ValueError where `disk` bytes are not free."""
    if disk is not None and disk > (free := shutil.disk_usage(folder).free):
        raise ValueError(
            f"the sweep needs about {disk / 1e9:.3g} GB, and {free / 1e9:.3g} are free"
        )


class Starts:
    """The starts of a sweep's runs.

    Args:
        settings: The sweeper's.
        url: The storage, as a run is told it.
        composer: Makes a search's cells, and every run's command line.
        search: The space of a search; None for a grid.
        ends: Takes a cell that needs no run; its ledger, queue and flights are those used here.
    """

    def __init__(
        self,
        settings: StudySweeperConf,
        url: str,
        composer: Composer,
        search: Mapping[str, BaseDistribution] | None,
        ends: Ends,
    ) -> None:
        self.settings, self.url, self.composer, self.search = settings, url, composer, search
        self.ledger, self.queue, self.flights = ends.ledger, ends.queue, ends.flights
        self.folder, self.ends = ends.ledger.folder, ends

    def next(self) -> bool:
        """Claim a cell and launch it; False when there is none to be had now."""
        if self.flights.stopping:
            return False
        record = self.queue.claim()
        if record is None and self.queue.unasked() > 0:
            record = self._ask()
        if record is not None:
            self.begin(record)
        return record is not None

    def _ask(self) -> Record:
        """A new cell from the sampler."""
        assert self.search is not None
        settings = self.settings
        number = len(self.ledger.records)
        sampler = _samplers.sampler(
            settings.sampler, settings.sampler_seed, number, settings.key("sampler")
        )
        trial = self.ledger.ask(sampler, self.search)
        values = {key: _samplers.as_override(value) for key, value in trial.params.items()}
        return self.ledger.name_asked(trial, self.composer.cell(values))

    def begin(self, record: Record) -> None:
        """Launch a claimed cell, unless its result is known, or will be."""
        twin = self.ledger.twin(record)
        if twin is not None:
            if twin.ended:
                self.ends.finish(record, twin.result)
            return  # else it gets the result of the earlier suggestion, when that has one
        end = self.ends.judge.settled(record)
        if end is not None and end["status"] != "failed":
            self.ends.finish(record, end)
            return
        anew = record.trial.user_attrs.get("anew", False)
        run_folder.make_ready(self.folder / record.folder, anew=anew)
        self.flights.start(record, self._overrides(record))
        self.ends.see()

    def _overrides(self, record: Record) -> list[str]:
        """The run's command line."""
        self.composer.space.check(record.values)
        place = [
            f"hydra.sweep.dir={quoted(str(self.folder))}",
            f"hydra.sweep.subdir={quoted(record.folder)}",
        ]
        if self.settings.pruner != "none":
            trial = f"storage:{quoted(self.url)},study:{quoted(self.folder.name)}"
            trial += f",number:{record.trial.number},pruner:{self.settings.pruner}"
            place.append(f"hydra.sweeper.trial={{{trial}}}")
        node = f"{self.settings.settings_from}."  # of no use to a run, and may hold a password
        overrides = self.composer.space.overrides(record.values)
        return [*(one for one in overrides if not one.lstrip("+~").startswith(node)), *place]


TICK_S = 0.5
STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Run:
    """The sweep in `folder`, as this process runs it.

    Args:
        settings: The sweeper's.
        folder: The sweep's folder.
        composer: Makes the cells' configs.
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
        self.launcher, self.space = launcher, composer.space
        self.search = _samplers.distributions(self.space) if self.space.intervals else None
        self.flights = Flights(launcher, folder, settings.timeout_s, settings.grace_s)
        self.signals, self._ticked = 0, 0.0
        try:
            self._open(cells, signature)
        except OSError as error:
            raise ValueError(f"cannot write {self.folder}: {error.strerror}") from error

    def _open(self, cells: Sequence[Cell], signature: dict[str, Any]) -> None:
        """Open the sweep's folder and study, enter the cells that are new, and make ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings, to = self.settings, directions(self.settings.direction)
        url = settings.storage or str(self.folder / "study.journal")
        self.ledger = Ledger(url, self.folder.name, to, self.folder)
        self.judge = Judge(settings, self.composer.groups, self.ledger)
        self.board = Board(self.folder, self.space.keys, to)
        kept = self.ledger.study.user_attrs.get("signature")
        refuse_what_differs(self.folder, signature, kept, settings)
        if not self.ledger.records:
            for line in rebuild(self.ledger, cells, self.composer, self.search):
                self.board.say(line)
        text = OmegaConf.to_yaml(OmegaConf.create(signature))
        run_folder.write_atomically(self.folder / "sweep.yaml", text)
        self.ledger.add(cells, self.space.choices)
        self.ledger.study.set_user_attr("signature", signature)
        wanted = None if self.search is not None else {cell.identity for cell in cells}
        self.queue = Queue(self.ledger, wanted, settings.n_trials)
        self.ends = Ends(settings, self.ledger, self.judge, self.queue, self.flights, self.board)
        self.starts = Starts(settings, url, self.composer, self.search, self.ends)
        self.ends.see()
        self.ends.checkpoints.know(self.ledger.records.values())

    def go(self) -> int:
        """Run what is missing; the exit code."""
        self.queue.again(self.settings.max_retries, failed=self.settings.rerun_failed)
        self.ends.see()
        self.queue.sort()
        self.ends.take_over_the_dead()
        if to_run := self.queue.to_run():
            self.board.jobs = prepare(self.launcher, self.settings.n_jobs)
        disk = needed(self.settings, self.ledger, self.composer, self.board.jobs, to_run)
        self.board.say(self.board.plan(to_run, disk))
        if self.settings.dry_run:
            self.board.say("not started")
            return 0
        refuse_if_full(self.folder, disk)
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

    def _run(self) -> None:
        """Keep as many runs in flight as there are jobs, until there is nothing left to start."""
        before = {n: signal.signal(n, self._on_signal) for n in STOP_SIGNALS} if _main() else {}
        self.board.start()
        try:
            while True:
                while len(self.flights) < self.board.jobs and self.starts.next():
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
        if self.queue.to_run() > 0:
            return False
        self.ledger.sync()
        self.ends.see()
        return not self.queue.any_running()

    def _wait(self) -> None:
        """Until a run ends or a while has passed; then see to it."""
        flight = self.flights.landed(TICK_S)
        if flight is not None and self.ends.ended(flight):
            self.starts.begin(flight.record)
        if time.monotonic() - self._ticked > TICK_S:
            self._ticked = time.monotonic()
            self.ledger.sync()
            self.ends.see()
            self.ends.take_over_the_dead()
            self.flights.watch()
        waiting = 0 if self.flights.stopping else self.queue.to_run()
        self.board.draw(waiting + len(self.flights), self.flights.values())

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Once: runs save and stop, the rest stays pending. Twice: now."""
        self.signals += 1
        if self.signals == 1:
            self.ends.stop("stopping: runs in flight save and stop; once more ends them now")
        elif self.signals == 2:
            self.flights.kill()
        else:
            os._exit(130)

    def _close(self) -> int:
        """The final table, a search's plots, and the exit code."""
        self.ledger.sync()
        self.ends.see()
        self.board.csv.write()
        self.board.summary()
        if self.judge.other_data:
            raise ValueError(self.judge.other_data)
        stopped = self.flights.stopping
        if self.search is not None and not stopped:
            plots = self.folder / "plots"
            told = _samplers.plots(self.ledger.study, plots, len(self.board.directions) > 1)
            self.board.say(told or f"plots: {plots}")
        if self.signals:
            return 130
        if self.queue.left:
            self.board.say(
                f"{len(self.queue.left)} interrupted: the same command goes on with them"
            )
        if failed := self.board.counts().get("failed", 0):
            self.board.say(
                f"{failed} failed: {self.settings.key('rerun_failed')}=true runs them again"
            )
        return 1 if failed or self.queue.left or stopped else 0


def _main() -> bool:
    return threading.current_thread() is threading.main_thread()
