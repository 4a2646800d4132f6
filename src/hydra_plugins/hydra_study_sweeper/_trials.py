"""Who runs which cell: records that are claimed once, whoever dies.

Nothing here needs a lock that a kill could leave behind: a claim is the storage's own step from
WAITING to RUNNING, a takeover is its step from RUNNING to FAIL (each succeeds for one caller only),
followed by a new WAITING attempt with the same number.
"""

import csv
import io
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from hydra_plugins.hydra_study_sweeper._samplers import from_override
from hydra_plugins.hydra_study_sweeper._space import Cell, folder_name
from hydra_plugins.hydra_study_sweeper._storage import FlockLock, get_lock_file, open_storage
from hydra_plugins.hydra_study_sweeper.run_folder import (
    as_floats,
    is_plain_name,
    write_atomically,
)

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


LEASE_S = 60.0  # a worker on another machine that shows no sign of life for so long is dead


class Worker:
    """This process among the workers of `study`."""

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        self.name = worker_name()
        self._signs: dict[str, tuple[Any, float]] = {}  # of others, and when each was new here
        self._shown = -LEASE_S

    def show_life(self) -> None:
        """Leave a sign of life in the study, now and then."""
        if time.monotonic() - self._shown > LEASE_S / 4:
            self._shown = time.monotonic()
            self.study.set_user_attr(f"worker:{self.name}", time.time())

    def knows_alive(self, other: str) -> bool:
        """Whether the worker named `other` lives; not asked of what this one runs itself."""
        if other == self.name:
            return False
        if other.split("|")[:2] == self.name.split("|")[:2]:
            pid, _, started = other.split("|", 2)[2].partition("|")
            return process_start(int(pid)) == started
        sign = self.study.user_attrs.get(f"worker:{other}")
        known = self._signs.get(other)
        if known is None or known[0] != sign:
            self._signs[other] = (sign, time.monotonic())
            return True
        return time.monotonic() - known[1] < LEASE_S


def worker_name() -> str:
    """This process among all on all machines: host, boot and process namespace, pid, start."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        place = f"{boot}-{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        place = "local"
    return f"{socket.gethostname()}|{place}|{os.getpid()}|{process_start(os.getpid())}"


def process_start(pid: int) -> str:
    """When `pid` was started, as the system counts; empty when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except OSError:
        pass
    if os.path.isdir("/proc/self"):
        return ""
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return "unknown"


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
        if not is_plain_name(folder):
            raise ValueError(
                f"the storage of {self.folder}: {folder!r:.100} is not the name of a folder in this"
                " sweep"
            )
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


class TrialsCsv:
    """The file in `folder`.

    Args:
        folder: The sweep's folder.
        keys: The axes.
        objectives: How many there are.
    """

    def __init__(self, folder: Path, keys: Sequence[str], objectives: int) -> None:
        self.path, self.keys, self.objectives = folder / "trials.csv", keys, objectives
        self._rows: dict[int, str] = {}

    def take_in(self, record: Record) -> bool:
        """Note how a record stands; whether that is new."""
        row = self._row(record)
        changed = self._rows.get(record.number) != row
        self._rows[record.number] = row
        return changed

    def write(self) -> None:
        """Write it, whole."""
        several = [f"objective_{index}" for index in range(self.objectives)]
        names = ["objective"] if self.objectives == 1 else several
        head = _line(["number", "state", *self.keys, *names, "wall_s", "folder", "error"])
        rows = [self._rows[number] for number in sorted(self._rows)]
        write_atomically(self.path, head + "".join(rows), sync=False)  # the storage has it, too

    def _row(self, record: Record) -> str:
        result = record.result
        values = {key.lstrip("+"): value for key, value in record.values.items()}
        found = as_floats(result.get("objective")) or []
        wall = result.get("wall_s")
        return _line(
            [
                record.number,
                record.state,
                *[values.get(key, "") for key in self.keys],
                *[*found, *[""] * self.objectives][: self.objectives],
                "" if wall is None else round(wall, 3),
                record.folder,
                result.get("error") or "",
            ]
        )


def read_csv(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a trials.csv by run folder; none when there is no such file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["folder"]: row for row in csv.DictReader(file)}
    except OSError:
        return {}


def _line(cells: Sequence[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


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
