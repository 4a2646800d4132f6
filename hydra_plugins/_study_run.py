"""One sweeper at work: it claims cells, launches them, and writes down how each ended."""

import os
import queue
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf
from optuna.trial import TrialState

from hydra_plugins import _study_board as boards
from hydra_plugins import _study_folder as folders
from hydra_plugins import _study_search as searches
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
        self.flying: dict[int, Record] = {}
        self.todo: dict[int, None] = {}  # numbers that wait, in their order
        self.left: set[int] = set()  # ended without a result; the next command goes on with them
        self.deadlines: dict[int, float] = {}
        self.late: set[int] = set()  # ran past timeout_s
        self.ends: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self.blocked: dict[int, Any] = {}  # ended for their launcher, but their folder is locked
        self.signals, self.stopping, self.refusal = 0, False, ""
        self.data: dict[tuple[str, ...], tuple[str, str]] = {}
        self.kept: set[int] = set()  # whose best.ckpt is kept
        self._ticked = 0.0
        self._open(signature)

    def _open(self, signature: dict[str, Any]) -> None:
        """Open the sweep's folder and study, and enter the cells that are new."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = self.folder.name
            self.ledger = Ledger(self.url, name, self.directions, self.folder)
            self.board = boards.Board(self.folder, self.space.keys, self.directions, 1)
            refuse_what_differs(self.folder, signature, self.ledger)
            if not self.ledger.records:
                lines = rebuild(self.ledger, self.cells, self.composer, self.search)
                self.board.say("\n".join(lines)) if lines else None
            text = OmegaConf.to_yaml(OmegaConf.create(signature))
            boards.write_atomically(self.folder / "sweep.yaml", text)
            self.ledger.add(self.cells, self.space.choices)
            self.ledger.study.set_user_attr("signature", signature)
        except OSError as error:
            raise ValueError(f"cannot write {self.folder}: {error.strerror}") from error
        self._see()

    def go(self) -> int:
        """Run what is missing; the exit code."""
        self._again()
        self._take_over_the_dead()
        to_run = self._to_run()
        if to_run:
            self.board.jobs = prepare(self.launcher, self.settings.jobs)
        disk = self._disk(to_run)
        self.board.say(self.board.plan(to_run, disk))
        if disk is not None and disk > (free := shutil.disk_usage(self.folder).free):
            raise ValueError(
                f"the sweep needs about {disk / 1e9:.3g} GB, and {free / 1e9:.3g} are free"
            )
        if not to_run:
            self.board.say("nothing to do")
        try:
            self._run()
            return self._close()
        except OSError as error:  # the runs in flight see that their sweeper ends, and stop too
            raise ValueError(
                f"cannot write {self.folder}: {error.strerror}; then the same command goes on"
            ) from error

    def _again(self) -> None:
        """Make pending what failed, if asked to, and what a dead sweeper left halfway."""
        settings = self.settings
        for record in list(self.ledger.records.values()):
            if self.search is None and record.identity not in self.wanted:
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
        if self.search is not None and not self.stopping:
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
                while len(self.flying) < self.board.jobs and self._start_next():
                    pass
                if not self.flying and not self.blocked and (self.stopping or self._all_done()):
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
        running = (r for r in self.ledger.records.values() if r.state == "running")
        return not self.todo and next(running, None) is None

    def _start_next(self) -> bool:
        """Claim a cell and launch it; False when there is none to be had now."""
        if self.stopping:
            return False
        while self.todo:
            number = next(iter(self.todo))
            del self.todo[number]
            record = self.ledger.records[number]
            if record.trial.state is TrialState.WAITING and self.ledger.claim(record):
                self._launch(record)
                return True
        if self.search is not None and len(self.ledger.records) < self.settings.n_trials:
            record = self._ask()
            if (twin := self.ledger.twin(record)) is None:
                self._launch(record)
            elif twin.ended:
                self._finish(record, twin.result)
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

    def _launch(self, record: Record) -> None:
        """Start a run in a thread of its own, which waits for its end."""
        folder = self.folder / record.folder
        metrics = folders.read_metrics(folder)
        if metrics is not None and metrics["status"] in ("finished", "pruned"):
            self._finish(record, folders.outcome(folder, None))
            return
        folders.make_ready(folder, anew=record.trial.user_attrs.get("anew", False))
        self.flying[record.number] = record
        self.board.began[record.number] = time.monotonic()
        if self.settings.timeout_s is not None:
            self.deadlines[record.number] = time.monotonic() + self.settings.timeout_s
        self._see()
        arguments = (record.number, self._overrides(record))
        if isinstance(self.launcher, BasicLauncher):  # it runs in this very thread
            self._wait_for(*arguments)
        else:
            threading.Thread(target=self._wait_for, args=arguments, daemon=True).start()

    def _overrides(self, record: Record) -> list[str]:
        """The run's command line."""
        cell = [f"{key}={value}" for key, value in record.values.items()]
        place = [
            f"hydra.sweep.dir={quoted(str(self.folder))}",
            f"hydra.sweep.subdir={quoted(record.folder)}",
        ]
        if self.settings.prune != "none":
            told = f"storage:{quoted(self.url)},study:{quoted(self.folder.name)}"
            told += f",number:{record.trial.number},prune:{self.settings.prune}"
            place.append(f"++{self.settings.trial_key}={{{told}}}")
        return [*self.space.fixed, *cell, *place]

    def _wait_for(self, number: int, overrides: list[str]) -> None:
        result: Any
        try:
            result = self.launcher.launch([overrides], initial_job_idx=number)[0]
        except BaseException as error:
            result = error
        self.ends.put((number, result))

    def _wait(self) -> None:
        """Until a run ends or a while has passed; then see to it."""
        try:
            number, result = self.ends.get(timeout=TICK_S)
            self._ended(number, result)
        except queue.Empty:
            pass
        if time.monotonic() - self._ticked > TICK_S:
            self._ticked = time.monotonic()
            for number, result in list(self.blocked.items()):
                del self.blocked[number]
                self._ended(number, result)
            self.ledger.sync()
            self._see()
            self._take_over_the_dead()
            self._end_the_late()
        self.board.draw(self._to_run() + len(self.flying))

    def _see(self) -> None:
        """Take in what this sweeper or another one has changed."""
        changed = self.ledger.changes()
        self.board.update(changed)
        for record in changed:
            if self._is_open(record) and record.number not in self.left:
                self.todo[record.number] = None

    def _is_open(self, record: Record) -> bool:
        """Whether the record waits for somebody to run it, and belongs to this command."""
        mine = self.search is not None or record.identity in self.wanted
        return mine and record.trial.state is TrialState.WAITING

    def _take_over_the_dead(self) -> None:
        """Settle the cells of sweepers that died: told from metrics.json, or pending again."""
        for record in self.ledger.abandoned():
            folder = self.folder / record.folder
            if folders.is_locked(folder):
                continue
            metrics = folders.read_metrics(folder)
            if metrics is not None and metrics["status"] in STATES:
                self._finish(record, folders.outcome(folder, None))
            elif self.ledger.take_over(record):
                self._see()

    # -- when a run has ended

    def _ended(self, number: int, result: Any) -> None:
        """Write down how a run ended, or run it again."""
        record = self.flying[number]
        folder = self.folder / record.folder
        if folders.is_locked(folder):  # its launcher lost sight of it, or it is another's
            self.blocked[number] = result
            return
        del self.flying[number]
        self.deadlines.pop(number, None)
        self.board.began.pop(number, None)
        end = self._checked(record, folders.outcome(folder, result))
        failures = record.trial.user_attrs.get("failures", 0)
        again = end["status"] in ("failed", "interrupted") and failures < self.settings.retries
        if again and not self.stopping:
            self._retry(record, end, failures + 1)
            return
        if end["status"] in STATES:
            self._finish(record, end)
        else:
            self.left.add(number)
            self.ledger.release(record, end["status"], end.get("error"))
            self._see()
            self.board.ended(record)
        if end["status"] == "failed" and self.settings.on_error == "stop":
            self._stop("a trial failed, and on_error=stop")

    def _checked(self, record: Record, end: dict[str, Any]) -> dict[str, Any]:
        """`end`, failed when it ran too long or saw other data than the runs before it."""
        folder = self.folder / record.folder
        if record.number in self.late:
            self.late.discard(record.number)
            end = {**end, "status": "failed"}
            end["error"] = f"ran past timeout_s={self.settings.timeout_s:g} and was ended"
        elif end["status"] == "finished" and (told := self._other_data(record, end)):
            end = {**end, "status": "failed", "error": told}
            self._stop(told)
            self.refusal = told
        if end["status"] == "failed":
            folders.record_failure(folder, end["error"])
        return end

    def _other_data(self, record: Record, end: dict[str, Any]) -> str | None:
        """What is wrong with the run's data, compared with runs of the same group choices."""
        found = end.get("data_fingerprint")
        if found is None:
            return None
        if not self.data:
            self._remember_data()
        key = self._data_of(record)
        known, where = self.data.setdefault(key, (found, record.folder))
        if known == found:
            return None
        return f"the data changed: {found} in {record.folder}, {known} in {where}"

    def _remember_data(self) -> None:
        for record in self.ledger.records.values():
            found = record.result.get("data_fingerprint")
            if found is not None and record.state == "finished":
                self.data.setdefault(self._data_of(record), (found, record.folder))

    def _data_of(self, record: Record) -> tuple[str, ...]:
        """The values that may decide what a run's data is: group choices, and axes of the data."""
        below = f"{self.settings.data_key}."
        return tuple(
            value
            for key, value in record.values.items()
            if key in self.composer.groups or key.lstrip("+").startswith(below)
        )

    def _retry(self, record: Record, end: dict[str, Any], failures: int) -> None:
        """Another attempt at once, from the last checkpoint."""
        self.board.say(
            f"again ({failures}/{self.settings.retries}): {record.folder}: {end['error']}"
        )
        self.ledger.storage.set_trial_user_attr(record.trial._trial_id, "failures", failures)
        self.ledger.sync()
        self._launch(record)

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
        return [r for r in same if r.state == "running" and r.number not in self.flying]

    def _tidy(self, record: Record) -> None:
        """Delete what is no longer needed: `last` here, `best` of all but the best."""
        (self.folder / record.folder / folders.LAST).unlink(missing_ok=True)
        if len(self.directions) == 1:
            keep = {r.number for r in self.board.ranking()[: self.settings.keep_best]}
            for other in {record.number, *self.kept} - keep:
                folder = self.folder / self.ledger.records[other].folder
                (folder / folders.BEST).unlink(missing_ok=True)
            self.kept = keep

    # -- when it is told to stop

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Once: runs save and stop, the rest stays pending. Twice: now."""
        self.signals += 1
        if self.signals == 1:
            self._stop("stopping: runs in flight save and stop; once more ends them now")
        elif self.signals == 2:
            for record in list(self.flying.values()):
                self._signal(record, signal.SIGKILL)
        else:
            os._exit(130)

    def _stop(self, why: str) -> None:
        """Start nothing more, and let the runs in flight save and stop."""
        if not self.stopping:
            self.stopping = True
            self.board.say(why)
            for record in list(self.flying.values()):
                self._signal(record, signal.SIGTERM)

    def _signal(self, record: Record, what: signal.Signals) -> None:
        """Send `what` to a run, through its launcher or to whom its lock names."""
        through = getattr(self.launcher, "signal", None)
        if through is not None and through(record.number, what):
            return
        process = folders.holder(self.folder / record.folder)
        if process is not None and process != os.getpid():
            os.kill(process, what)

    def _end_the_late(self) -> None:
        """End what runs past timeout_s: politely, and after a while at once."""
        now = time.monotonic()
        for number, deadline in self.deadlines.items():
            if now < deadline:
                continue
            again = number in self.late
            self.late.add(number)
            self._signal(self.flying[number], signal.SIGKILL if again else signal.SIGTERM)
            self.deadlines[number] = now + self.settings.grace_s

    def _close(self) -> int:
        """The final table, a search's plots, and the exit code."""
        self.ledger.sync()
        self._see()
        self.board.write_csv()
        self.board.summary()
        if self.refusal:
            raise ValueError(self.refusal)
        if self.search is not None and not self.stopping:
            told = boards.plots(self.ledger.study, self.folder / "plots", len(self.directions) > 1)
            if told:
                self.board.say(told)
        if self.signals:
            return 130
        counts = self.board.counts()
        if self.left:
            self.board.say(f"{len(self.left)} interrupted: the same command goes on with them")
        if failed := counts.get("failed", 0):
            self.board.say(f"{failed} failed: rerun_failed=true runs them again")
        return 1 if failed or self.left or self.stopping else 0


def prepare(launcher: Launcher, jobs: int | None) -> int:
    """Make `launcher` ready to be called from several threads; how many jobs it shall run."""
    if isinstance(launcher, BasicLauncher):
        return 1
    if (cfg := getattr(launcher, "ray_cfg", None)) is not None:  # each thread would start a cluster
        import ray

        if not ray.is_initialized():
            settings: Any = OmegaConf.to_container(cfg.init, resolve=True)
            ray.init(**{"object_store_memory": 78_643_200, **settings})
    own = getattr(launcher, "prepare", None)
    return int(own(jobs)) if own is not None else jobs or 1


def _main() -> bool:
    return threading.current_thread() is threading.main_thread()
