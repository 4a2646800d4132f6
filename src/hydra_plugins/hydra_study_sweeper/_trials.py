"""The trials of a sweep in its storage: each is run by one worker only, even after crashes.

`Trial` is one trial, `Worker` tells which workers have exited, `TrialStore` reads and changes the
storage, `TrialQueue` chooses the trials that a command runs, and `TrialsCsv` writes trials.csv.

Nothing here needs a lock that a killed process could leave locked. A claim is the storage's own
step from WAITING to RUNNING. A stale trial is reclaimed by the step from RUNNING to FAIL, followed
by a new WAITING attempt with the same number. Each step succeeds for one caller only.
"""

import csv
import io
import itertools
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hydra_plugins.hydra_study_sweeper._samplers import from_override, suggest
from hydra_plugins.hydra_study_sweeper._space import TrialParams, folder_name
from hydra_plugins.hydra_study_sweeper._storage import FlockLock, held, open_storage
from hydra_plugins.hydra_study_sweeper.run_folder import (
    as_floats,
    is_plain_name,
    write_atomically,
)
from hydra_plugins.hydra_study_sweeper.sweep_folder import TRIALS, read_trials

ENDED = {  # the statuses that are final, and their state in Optuna
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
OUTSIDE = (  # types of errors whose cause is not the trial, and may have gone by now
    *("FileNotFoundError", "PermissionError", "NotADirectoryError", "OSError"),
    *("ConnectionError", "ConnectionRefusedError", "ConnectionResetError", "TimeoutError"),
)
WORKER = "worker:"  # prefix of attributes: of a trial, its claims; of the study, heartbeats


@dataclass
class Trial:
    """A trial and its attempts.

    Optuna has no step from an ended state back to pending, so each attempt is an Optuna trial.

    Attributes:
        number: The same for all attempts: the number of the first attempt in Optuna.
        identity: The hash of its config.
        values: The value of each axis.
        folder: The name of its run folder in the sweep's folder.
        attempts: The Optuna trial of each attempt, by the attempt's number from 0.
    """

    number: int
    identity: str
    values: Mapping[str, str]
    folder: str
    attempts: dict[int, FrozenTrial] = field(default_factory=dict)

    @property
    def optuna_trial(self) -> FrozenTrial:
        """The last attempt, which is the one that counts."""
        return self.attempts[max(self.attempts)]

    @property
    def num_failures(self) -> int:
        """How often it was tried again after a failure."""
        return int(self.optuna_trial.user_attrs.get("num_failures", 0))

    @property
    def result(self) -> dict[str, Any]:
        """The known part of the last attempt's result: status, error, objective, wall_s, ..."""
        attrs = self.optuna_trial.user_attrs
        if self.waiting:
            return {"status": self.status, "error": attrs.get("error")}
        result: dict[str, Any] = attrs.get("result", {})
        return result

    @property
    def objectives(self) -> list[float] | None:
        """Its objectives; None if it has none, or one is no number."""
        return as_floats(self.result.get("objective"))

    @property
    def waiting(self) -> bool:
        """Whether a worker can claim it."""
        return self.optuna_trial.state is TrialState.WAITING

    @property
    def status(self) -> str:
        """One of pending, running, finished, pruned, failed, stopped, interrupted."""
        if self.waiting:
            return str(self.optuna_trial.user_attrs.get("status", "pending"))
        if self.optuna_trial.state is TrialState.FAIL:
            return str(self.result.get("status", "failed"))
        names = {state: name for name, state in ENDED.items()}
        return names.get(self.optuna_trial.state, "running")

    @property
    def ended(self) -> bool:
        """Whether its status is final."""
        return self.status in ENDED


HEARTBEAT_TIMEOUT_S = 60.0  # a worker on another machine counts as exited after so long without one


class Worker:
    """The worker of this process; it also finds out which other workers are alive.

    A worker on this host is alive if its process is, one on another host if its heartbeat changes.
    """

    def __init__(self, optuna_study: optuna.Study) -> None:
        self.optuna_study = optuna_study
        self.name = worker_name()
        self._heartbeats: dict[str, tuple[Any, float]] = {}  # of others: last value, since when
        self._last_heartbeat = -HEARTBEAT_TIMEOUT_S

    def heartbeat(self) -> None:
        """Store this worker's heartbeat, at most four times per timeout."""
        if time.monotonic() - self._last_heartbeat > HEARTBEAT_TIMEOUT_S / 4:
            self._last_heartbeat = time.monotonic()
            self.optuna_study.set_user_attr(f"{WORKER}{self.name}", time.time())

    def is_alive(self, other: str) -> bool:
        """Return whether the worker named `other` is alive and is not this one."""
        if other == self.name:
            return False
        if other.split("|")[:2] == self.name.split("|")[:2]:  # same host, boot and namespace
            pid, _, started = other.split("|", 2)[2].partition("|")
            return process_start_time(int(pid)) == started
        heartbeat = self.optuna_study.user_attrs.get(f"{WORKER}{other}")
        known = self._heartbeats.get(other)
        if known is None or known[0] != heartbeat:
            self._heartbeats[other] = (heartbeat, time.monotonic())
            return True
        return time.monotonic() - known[1] < HEARTBEAT_TIMEOUT_S


def worker_name() -> str:
    """Name this process uniquely: host, boot and process namespace, process id, start time."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        namespace = f"{boot}-{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        namespace = "local"
    return f"{socket.gethostname()}|{namespace}|{os.getpid()}|{process_start_time(os.getpid())}"


def process_start_time(pid: int) -> str:
    """Return when process `pid` started, in clock ticks; empty if none; `unknown` without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]  # proc(5): a zombie has exited
    except OSError:
        pass
    if os.path.isdir("/proc/self"):  # this is Linux, so there is no such process
        return ""
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return "unknown"


class TrialStore:
    """The trials of one sweep in its storage, and which of them this worker runs.

    Args:
        url: The storage, as `open_storage` takes it.
        name: The Optuna study's name.
        directions: `minimize` or `maximize`, one per objective.
        folder: The sweep's folder.
        name_folder: Names the folder of a trial by its number and values.

    Raises:
        ValueError: The storage cannot be opened, or has other directions or a wrong folder.
    """

    def __init__(
        self,
        url: str,
        name: str,
        directions: Sequence[Any],
        folder: Path,
        name_folder: Callable[[int, Mapping[str, str]], str] = folder_name,
    ) -> None:
        self._name_folder = name_folder
        self.storage, self.folder = open_storage(url), folder
        self.optuna_study = optuna.create_study(
            study_name=name,
            storage=self.storage,
            directions=list(directions),
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),
        )
        stored = [direction.name.lower() for direction in self.optuna_study.directions]
        if stored != list(directions):
            raise ValueError(
                f"direction={list(directions)}: {folder} has {stored}; use another name for a new"
                " sweep"
            )
        self.trials: dict[int, Trial] = {}
        self.by_identity: dict[str, int] = {}  # the lowest number with that identity
        self.worker = Worker(self.optuna_study)
        self._own: set[int] = set()  # numbers of the Optuna trials that this worker runs
        self._study_id = self.storage.get_study_id_from_name(name)
        self._seen: list[FrozenTrial] = []  # at the last `sync`
        self._folders: dict[str, int] = {}  # name of a run folder -> number of its trial
        self._changed: dict[int, Trial] = {}  # since the last `pop_changes`
        self.sync()

    def describe(self, names: Sequence[str], command: str, about: Any) -> None:
        """Store the objectives' names, the command and the study's texts for Optuna's dashboard."""
        if names and self.optuna_study.metric_names != list(names):
            self.optuna_study.set_metric_names(list(names))
        texts = {k: v for k, v in (about or {}).items() if isinstance(v, str)}
        attrs = self.optuna_study.user_attrs
        for key, value in {"command": command, **texts}.items():
            if attrs.get(key) != value:
                self.optuna_study.set_user_attr(key, value)

    def sync(self) -> None:
        """Read the changes from the storage."""
        optuna_trials = self.storage.get_all_trials(self._study_id, deepcopy=False)
        for index, optuna_trial in enumerate(optuna_trials):
            if index < len(self._seen) and optuna_trial is self._seen[index]:
                continue  # Optuna returns the same object while nothing has changed
            if (trial := self._take_in(optuna_trial)) is not None:
                self._changed[trial.number] = trial
        self._seen = optuna_trials

    def _refresh(self, trial_id: int) -> None:
        """Read one attempt; `sync` would read a row per pending trial from a database."""
        if (trial := self._take_in(self.storage.get_trial(trial_id))) is not None:
            self._changed[trial.number] = trial

    def pop_changes(self) -> list[Trial]:
        """Return the trials that have changed since the last call."""
        changed, self._changed = self._changed, {}
        return list(changed.values())

    def _take_in(self, optuna_trial: FrozenTrial) -> Trial | None:
        """Add an attempt to its trial, and return the trial; None if the attempt does not count."""
        attrs = optuna_trial.user_attrs
        if "params" not in attrs:
            return None  # its worker was killed between `ask` and `attach_params`
        number = attrs.get("number", optuna_trial.number)
        values, identity = attrs["params"]["values"], attrs["params"]["identity"]
        folder = attrs.get("folder") or self._free_folder(number, values)
        self._folders.setdefault(folder, number)
        if not is_plain_name(folder):
            raise ValueError(
                f"the storage of {self.folder}: {folder!r:.100} is not the name of a folder in this"
                " sweep; use another name for a new sweep"
            )
        first = self.by_identity.get(identity, number)
        if first < number and attrs.get("grid"):
            return None  # two machines added the trial at the same moment: the first one counts
        trial = self.trials.setdefault(number, Trial(number, identity, values, folder))
        attempt = attrs.get("attempt", 0)
        known = trial.attempts.get(attempt)
        if known is not None and known.number < optuna_trial.number:
            return None
        trial.attempts[attempt] = optuna_trial
        self.by_identity[identity] = min(first, number)
        return trial

    def _free_folder(self, number: int, values: Mapping[str, str]) -> str:
        """Return a trial's folder name, made different from all others if an app repeats a name."""
        if number in self.trials:
            return self.trials[number].folder
        name = self._name_folder(number, values)
        names = (name if k == 1 else f"{name}-{k}" for k in itertools.count(1))
        return next(one for one in names if self._folders.get(one, number) == number)

    def duplicate_of(self, trial: Trial) -> Trial | None:
        """Return the first trial with the same identity; None if it is this one."""
        first = self.by_identity[trial.identity]
        return self.trials[first] if first < trial.number else None

    def add(self, params: Iterable[TrialParams], axes: Mapping[str, Sequence[str]]) -> None:
        """Add the trials of a grid that are new, in their order.

        Args:
            params: Of all trials of the grid.
            axes: The values of each axis that is a parameter for Optuna.
        """
        distributions = {key: axis_distribution(values) for key, values in axes.items()}
        with self.locked():
            self.sync()
            for one in params:
                if one.identity not in self.by_identity:
                    attrs = {"params": asdict(one), "grid": True}
                    values = {k: from_override(one.values[k], d) for k, d in distributions.items()}
                    self._create(attrs, values, distributions)
            self.sync()
        for one in params:  # an older trial lacks the axes that the sweep did not have then
            trial = self.trials.get(self.by_identity.get(one.identity, -1))
            if trial is not None and one.values.keys() - trial.values.keys():
                trial.values = {**trial.values, **one.values}
                self._changed[trial.number] = trial

    def locked(self) -> AbstractContextManager[None]:
        """Return a lock of the sweep's trials on this machine; it cannot be taken twice."""
        return held(FlockLock(str(self.folder / ".fill.lock")))

    def import_trial(
        self,
        params: TrialParams,
        folder: str,
        state: TrialState,
        result: dict[str, Any],
        space: Mapping[str, BaseDistribution] | None,
    ) -> None:
        """Add a trial whose run folder exists, although the storage has lost it.

        Args:
            params: Its parameters.
            folder: The name of its run folder.
            state: Its state in Optuna.
            result: Its result, read from that folder.
            space: The distributions of a search; None for a grid.
        """
        attrs: dict[str, Any] = {"folder": folder, "status": result["status"], "result": result}
        attrs["params"] = asdict(params)
        attrs["grid"] = space is None
        values = {k: from_override(params.values[k], one) for k, one in (space or {}).items()}
        objectives = as_floats(result.get("objective")) if state is TrialState.COMPLETE else None
        self._create(attrs, values, space or {}, state=state, values=objectives)
        self.sync()

    def add_attempt(self, trial: Trial, status: str, **attrs: Any) -> None:
        """Add another attempt at a trial whose last attempt has ended.

        Args:
            trial: The trial.
            status: Its status while it waits: that of its last attempt, or `pending`.
            **attrs: More attributes of the attempt.
        """
        old = trial.optuna_trial
        kept = {k: v for k, v in old.user_attrs.items() if k in ("params", "num_failures")}
        new = {"number": trial.number, "attempt": max(trial.attempts) + 1, "status": status}
        self._create(
            {**kept, **new, "folder": trial.folder, **attrs},
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
        """Add an Optuna trial to the storage; `more` goes to Optuna's `create_trial`."""
        template = optuna.trial.create_trial(
            state=state,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs=dict(attrs),
            **more,
        )
        try:
            self.storage.create_new_trial(self._study_id, template)
        except ValueError:  # a database refuses new choices of a grown axis: leave params out
            template.params, template.distributions = {}, {}
            self.storage.create_new_trial(self._study_id, template)

    def _id_of(self, optuna_trial: FrozenTrial | optuna.Trial) -> int:
        """Return the id of an attempt in the storage."""
        number = optuna_trial.number
        return self.storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def claim(self, trial: Trial) -> bool:
        """Claim a waiting trial; True for one worker only. Read and write this trial alone."""
        trial_id = self._id_of(trial.optuna_trial)
        self._refresh(trial_id)
        if not self.trials[trial.number].waiting:
            return False
        try:
            self.storage.set_trial_user_attr(trial_id, f"{WORKER}{self.worker.name}", True)
            claimed = self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            claimed = False
        if claimed:
            self._own.add(trial.optuna_trial.number)
        self._refresh(trial_id)
        return claimed

    def ask(
        self, sampler: optuna.samplers.BaseSampler, space: Mapping[str, BaseDistribution]
    ) -> Any:
        """Add a trial of a search with the sampler's suggestions, claimed by this worker.

        Returns:
            Optuna's trial, which needs `attach_params`.
        """
        claimed = optuna.trial.create_trial(
            state=TrialState.RUNNING, user_attrs={f"{WORKER}{self.worker.name}": True}
        )
        trial_id = self.storage.create_new_trial(self._study_id, claimed)
        self.optuna_study.sampler = sampler
        optuna_trial = optuna.Trial(self.optuna_study, trial_id)
        self._own.add(optuna_trial.number)
        for name, distribution in space.items():
            suggest(optuna_trial, name, distribution)
        return optuna_trial

    def attach_params(self, optuna_trial: Any, params: TrialParams) -> Trial:
        """Store the parameters of a trial that `ask` made."""
        self.storage.set_trial_user_attr(self._id_of(optuna_trial), "params", asdict(params))
        self.sync()
        return self.trials[optuna_trial.number]

    def finish(self, trial: Trial, state: TrialState, result: Mapping[str, Any]) -> None:
        """Store how a trial ended. If two workers do, the first one counts."""
        trial_id = self._id_of(trial.optuna_trial)
        values = as_floats(result.get("objective")) if state is TrialState.COMPLETE else None
        if values is None and state is TrialState.COMPLETE:  # Optuna wants one: the worst
            signs = [
                1 if d is StudyDirection.MINIMIZE else -1 for d in self.optuna_study.directions
            ]
            values = [sign * math.inf for sign in signs]
        try:
            self.storage.set_trial_user_attr(trial_id, "result", dict(result))
            if trial.optuna_trial.state is TrialState.RUNNING:
                self.optuna_study.tell(trial.optuna_trial.number, values, state=state)
            else:
                self.storage.set_trial_state_values(trial_id, state, values)
        except (UpdateFinishedTrialError, ValueError):  # another worker has finished it first
            pass
        self._own.discard(trial.optuna_trial.number)
        self.sync()

    def set_num_failures(self, trial: Trial, number: int) -> None:
        """Store how often a trial has failed, when it is tried again at once."""
        trial_id = self._id_of(trial.optuna_trial)
        self.storage.set_trial_user_attr(trial_id, "num_failures", number)
        self.sync()

    def requeue(self, trial: Trial, status: str, error: str | None) -> None:
        """Make a stopped or interrupted trial pending again; the next command continues it."""
        trial_id = self._id_of(trial.optuna_trial)
        self.storage.set_trial_user_attr(trial_id, "status", status)
        self.storage.set_trial_user_attr(trial_id, "error", error)
        self.storage.set_trial_state_values(trial_id, TrialState.WAITING)
        self._own.discard(trial.optuna_trial.number)
        self.sync()

    def stale_trials(self) -> list[Trial]:
        """Return the trials whose state is RUNNING although their worker has exited."""
        return [
            trial
            for trial in self.trials.values()
            if trial.optuna_trial.state is TrialState.RUNNING
            and trial.optuna_trial.number not in self._own
            and not any(self.worker.is_alive(worker) for worker in _workers(trial.optuna_trial))
        ]

    def reclaim(self, trial: Trial) -> bool:
        """Make a stale trial pending again; True for the one caller that did it."""
        trial_id = self._id_of(trial.optuna_trial)
        try:
            self.storage.set_trial_user_attr(trial_id, "result", {"status": "interrupted"})
            self.storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            self.sync()
            return False
        self.sync()
        self.add_attempt(trial, "interrupted")
        return True


def axis_distribution(values: Sequence[str]) -> BaseDistribution:
    """Return the distribution of a grid's axis, for Optuna's dashboard."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return CategoricalDistribution(list(values))
    return FloatDistribution(min(numbers), max(numbers))


def _workers(optuna_trial: FrozenTrial) -> list[str]:
    """Return the workers that tried to claim the trial; the one that runs it is among them."""
    return [key.removeprefix(WORKER) for key in optuna_trial.user_attrs if key.startswith(WORKER)]


class TrialQueue:
    """The trials of a store that this command is to run, in their order.

    Args:
        store: All trials of the sweep.
        identities: Those of this command's trials; None for a search, to which all trials belong.
        n_trials: The number of trials of a search.
    """

    def __init__(self, store: TrialStore, identities: set[str] | None, n_trials: int) -> None:
        self.store, self.identities, self.n_trials = store, identities, n_trials
        self.interrupted: set[int] = set()  # numbers of trials that are left to the next command
        self._waiting: dict[int, None] = {}  # numbers, in their order
        self._random = Random()  # not the generator that a training uses

    def update(self, changed: Iterable[Trial]) -> None:
        """Add the changed trials that wait to be claimed."""
        for trial in changed:
            waits = trial.waiting and self.belongs_to_sweep(trial)
            if waits and trial.number not in self.interrupted:
                self._waiting[trial.number] = None

    def sort(self) -> None:
        """Order the waiting trials by their numbers."""
        self._waiting = dict.fromkeys(sorted(self._waiting))

    def belongs_to_sweep(self, trial: Trial) -> bool:
        """Return whether the trial is one of this command's."""
        return self.identities is None or trial.identity in self.identities

    def num_pending(self) -> int:
        """Return how many runs are still to be started, including those not sampled yet."""
        return len(self._waiting) + self.num_to_sample()

    def num_to_sample(self) -> int:
        """Return how many trials a search still asks its sampler for."""
        if self.identities is not None:
            return 0
        return max(0, self.n_trials - len(self.store.trials))

    def claim_next(self) -> Trial | None:
        """Claim the first waiting trial, or a later one if other workers claim at the same time.

        After each claim that fails, the next one is drawn from twice as many trials: of many
        workers that start together, few try the same trial.
        """
        choices = 1
        while self._waiting:
            position = self._random.randrange(min(choices, len(self._waiting)))
            number = next(islice(self._waiting, position, None))
            del self._waiting[number]
            trial = self.store.trials[number]
            if not trial.waiting:
                continue
            if self.store.claim(trial):
                return trial
            choices *= 2
        return None

    def any_running(self) -> bool:
        """Return whether any worker runs a trial of this command, which may still become stale."""
        trials = self.store.trials.values()
        return any(t.status == "running" and self.belongs_to_sweep(t) for t in trials)

    def requeue_unfinished(self, max_retries: int, *, rerun_failed: bool) -> None:
        """Make trials pending that were interrupted, or failed up to `max_retries` times.

        With `rerun_failed` all failed trials run again, from the beginning. A trial that failed
        with an error of `OUTSIDE`, such as a missing file, is tried again in any case.
        """
        for trial in list(self.store.trials.values()):
            if attempt := self.next_attempt(trial, max_retries, rerun_failed):
                self.store.add_attempt(trial, **attempt)

    def next_attempt(
        self, trial: Trial, max_retries: int, rerun_failed: bool
    ) -> dict[str, Any] | None:
        """Return the arguments of `add_attempt` for a trial that is to run again; else None."""
        failures, is_failed = trial.num_failures, trial.status == "failed"
        if not self.belongs_to_sweep(trial):
            return None
        if is_failed and (rerun_failed or failures < max_retries) and not trial.waiting:
            failures = 0 if rerun_failed else failures + 1
            return {"status": "failed", "num_failures": failures, "from_scratch": rerun_failed}
        if is_failed and _has_outside_cause(trial) and not trial.waiting:
            return {"status": "failed", "num_failures": failures}
        if trial.optuna_trial.state is TrialState.FAIL and trial.status == "interrupted":
            return {"status": "interrupted"}
        return None


def _has_outside_cause(trial: Trial) -> bool:
    """Return whether a trial failed with an error of `OUTSIDE`, and may succeed if tried again."""
    return str(trial.result.get("error") or "").partition(":")[0] in OUTSIDE


class TrialsCsv:
    """The file trials.csv.

    Args:
        folder: The sweep's folder.
        keys: The axes of this command; axes of earlier commands are added when a trial has them.
        objectives: The number of objectives.
    """

    def __init__(self, folder: Path, keys: Sequence[str], objectives: int) -> None:
        self.path, self.keys, self.objectives = folder / TRIALS, list(keys), objectives
        self._trials: dict[int, Trial] = {}
        self._rows: dict[int, str] = {}

    def update(self, trial: Trial) -> bool:
        """Set a trial's row; return whether the file is out of date now."""
        self._trials[trial.number] = trial
        names = [key.lstrip("+") for key in trial.values]
        if new := [name for name in names if name not in self.keys]:  # an axis of another command
            self.keys += new
            self._rows = {number: self._row(one) for number, one in self._trials.items()}
            return True
        row = self._row(trial)
        changed = self._rows.get(trial.number) != row
        self._rows[trial.number] = row
        return changed

    def write(self) -> None:
        """Write the whole file."""
        several = [f"objective_{index}" for index in range(self.objectives)]
        names = ["objective"] if self.objectives == 1 else several
        head = _line(
            ["number", "state", *self.keys, *names, "wall_s", "folder", "error", "identity"]
        )
        rows = [self._rows[number] for number in sorted(self._rows)]
        write_atomically(self.path, head + "".join(rows), sync=False)  # the storage has it, too

    def _row(self, trial: Trial) -> str:
        """Return the line of a trial, in the order of the columns that `write` names."""
        result = trial.result
        values = {key.lstrip("+"): value for key, value in trial.values.items()}
        objectives, wall = trial.objectives or [], result.get("wall_s")
        return _line(
            [
                trial.number,
                trial.status,
                *[values.get(key, "") for key in self.keys],
                *[*objectives, *[""] * self.objectives][: self.objectives],
                "" if wall is None else round(wall, 3),
                trial.folder,
                result.get("error") or "",
                trial.identity,
            ]
        )


def read_csv(path: Path) -> dict[str, dict[str, str]]:
    """Read the rows of a trials.csv by run folder; none if there is no such file."""
    try:
        return {row["folder"]: row for row in read_trials(path.parent)}
    except (OSError, ValueError):
        return {}


def _line(fields: Sequence[Any]) -> str:
    """Return one line of a CSV file."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(fields)
    return buffer.getvalue()
