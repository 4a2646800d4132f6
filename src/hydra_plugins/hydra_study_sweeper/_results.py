"""Determine how a trial ended, check its data and its config, and delete checkpoints."""

import math
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from hydra_plugins.hydra_process_launcher.hydra_internals import value_of
from hydra_plugins.hydra_study_sweeper import run_folder
from hydra_plugins.hydra_study_sweeper._composer import Composer, differences, drop_keys
from hydra_plugins.hydra_study_sweeper._space import short_hash
from hydra_plugins.hydra_study_sweeper._trials import Trial, TrialStore
from hydra_plugins.hydra_study_sweeper.run_folder import as_floats

TrialResult = dict[str, Any]  # status and error; from metrics.json also the other keys of KEPT
MAX_ERROR = 2000  # characters of an error, which stands in trials.csv and in the final table
KEPT = ("status", "error", "objective", "wall_s", "data_fingerprint")
STOP_REQUESTS = {  # exit codes of a process that users, a cluster or the system have ended
    -getattr(signal, name)
    for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
    if hasattr(signal, name)  # Windows has two of them
}


def resolve_status(folder: Path, launched: Any, objectives: int = 1) -> TrialResult:
    """Determine how a run ended: from its metrics.json, or else from its launcher.

    Without metrics.json, the run is `interrupted` if the launcher raised an error, or if a signal
    of STOP_REQUESTS may have ended the process. It is `finished` if Hydra counts the job as
    completed, and `failed` otherwise.

    Args:
        folder: The run's folder.
        launched: The JobReturn of its launcher, or the error that it raised; None if not known.
        objectives: The number of objectives.
    """
    metrics = run_folder.read_result(folder)
    if metrics is not None:
        result = {key: metrics.get(key) for key in KEPT}
        wall = as_floats(result["wall_s"])
        result["wall_s"] = wall[0] if wall and 0 <= wall[0] < math.inf else None
        if result["error"] is not None:
            text = str(result["error"])[:MAX_ERROR]  # it may name a file whose name is not UTF-8
            result["error"] = text.encode("utf-8", "backslashreplace").decode()
        return _check_objective(result, objectives)
    if isinstance(launched, BaseException):  # the launcher failed, not the run
        return {"status": "interrupted", "error": _in_one_line(launched)}
    returned = value_of(launched) if isinstance(launched, JobReturn) else None
    if isinstance(returned, BaseException) and not hasattr(returned, "exit_code"):
        return {"status": "failed", "error": _in_one_line(returned)}
    if (code := getattr(returned, "exit_code", 0)) != 0:  # None: the exit was not observed
        if code is None or code in STOP_REQUESTS:
            return {"status": "interrupted", "error": str(returned)}
        return {"status": "failed", "error": ": ".join([str(returned), *_last_error(folder)])}
    if getattr(launched, "status", None) is JobStatus.COMPLETED:  # the app writes no metrics.json
        objective = returned if as_floats(returned) is not None else None
        return {"status": "finished", "error": None, "objective": objective}
    return {"status": "failed", "error": "the run ended without metrics.json"}


def _in_one_line(error: BaseException) -> str:
    """Return an error's type and text in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def _last_error(folder: Path) -> list[str]:
    """Return the last line of the run's log if it is an error, in a list."""
    try:
        lines = (folder / run_folder.LOG).read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        return []
    return [line.strip()[:300] for line in lines[-1:] if "rror" in line]


def _check_objective(result: TrialResult, objectives: int) -> TrialResult:
    """Return `result` as failed if it is finished without one number per objective."""
    values = as_floats(result.get("objective"))
    if result["status"] == "finished" and (values is None or len(values) != objectives):
        wanted = "a number" if objectives == 1 else f"{objectives} numbers"
        error = f"the objective is {result.get('objective')}, not {wanted}"
        return {**result, "status": "failed", "error": error, "objective": None}
    return result


class DataCheck:
    """Checks that trials with equal data settings have seen equal data.

    Args:
        store: The trials of the sweep.
        groups: The axes that are config groups.
        data_key: Axes below it are data settings, too.

    Attributes:
        problem: The last difference that `check` found; None if it found none.
    """

    def __init__(self, store: TrialStore, groups: Sequence[str], data_key: str) -> None:
        self.store, self.groups, self.data_key = store, groups, data_key
        self.problem: str | None = None
        self._known: dict[tuple[str, ...], tuple[str, str]] = {}  # -> fingerprint, run folder

    def check(self, trial: Trial, result: TrialResult) -> str | None:
        """Return how the trial's data differ from those of earlier trials; None if they do not."""
        fingerprint = result.get("data_fingerprint")
        if fingerprint is None:
            return None
        self._take_in_finished()
        key = self._data_settings(trial)
        before, folder = self._known.setdefault(key, (fingerprint, trial.folder))
        if before == fingerprint:
            return None
        self.problem = f"the data changed: {fingerprint} in {trial.folder}, {before} in {folder}"
        return self.problem

    def fits(self, trial: Trial, result: TrialResult) -> bool:
        """Return whether the trial's data are those of earlier trials, or are not known to differ.

        Unlike `check`, it stores neither the data nor a problem: the result may not be used.
        """
        self._take_in_finished()
        fingerprint = result.get("data_fingerprint")
        before, _ = self._known.get(self._data_settings(trial), (fingerprint, ""))
        return fingerprint is None or before == fingerprint

    def _take_in_finished(self) -> None:
        """Note the data of the trials that have finished, once."""
        if self._known:
            return
        for other in self.store.trials.values():
            if other.status == "finished" and other.result.get("data_fingerprint"):
                known = (other.result["data_fingerprint"], other.folder)
                self._known.setdefault(self._data_settings(other), known)

    def _data_settings(self, trial: Trial) -> tuple[str, ...]:
        """Return the axis values that may decide which data a run sees."""
        below = f"{self.data_key}."
        return tuple(
            value
            for key, value in trial.values.items()
            if key in self.groups or key.lstrip("+").startswith(below)
        )


class ConfigCheck:
    """Checks that a run had the config of its trial: files of conf/ may change during a sweep.

    Args:
        folder: The sweep's folder.
        composer: Makes the trials' configs.

    Attributes:
        problem: The last difference that `check` found; None if it found none.
    """

    def __init__(self, folder: Path, composer: Composer) -> None:
        self.folder, self.composer = folder, composer
        self.problem: str | None = None

    def check(self, trial: Trial) -> str | None:
        """Return how a run's config.yaml differs from its trial's; None if equal or not readable.

        Keys that cannot change a result are not compared.
        """
        path = self.folder / trial.folder / run_folder.CONFIG
        try:
            content = drop_keys(run_folder.read_plain_yaml(path), self.composer.ignore)
        except (OSError, ValueError):  # an app may write none, or settings that are not plain
            return None
        if short_hash(content) == trial.identity:
            return None
        lines = differences(self.composer.compose_for_hash(trial.values), content)
        changed = "; ".join(lines[:4]) or "its config"
        self.problem = (
            f"the configuration changed while the sweep ran: {changed} in {trial.folder}; the same"
            " command says what is to be done"
        )
        return self.problem


class CheckpointCleaner:
    """Deletes the checkpoints of ended trials, except those that `keep_best` keeps.

    Args:
        folder: The sweep's folder.
        keep_best: How many trials keep best.ckpt; None keeps every checkpoint.
        ranking: Sorts trials, the best first; None if several objectives give no order.
    """

    def __init__(
        self,
        folder: Path,
        keep_best: int | None,
        ranking: Callable[[Iterable[Trial]], list[Trial]] | None,
    ) -> None:
        self.folder, self.keep_best, self.ranking = folder, keep_best, ranking
        self._best: list[Trial] = []

    def add_ended(self, trials: Iterable[Trial]) -> None:
        """Rank the trials that ended before this command; delete nothing."""
        if self.ranking is not None:
            self._best = self.ranking(trials)[: self.keep_best or 0]

    def clean(self, trial: Trial) -> None:
        """Delete last.ckpt of the ended `trial`, and each best.ckpt that is not to be kept."""
        if self.keep_best is None:
            return
        run_folder.delete_checkpoint(self.folder / trial.folder, run_folder.LAST)
        if self.ranking is not None:
            candidates = {t.number: t for t in (*self._best, trial)}
            self._best = self.ranking(candidates.values())[: self.keep_best]
            for number in candidates.keys() - {t.number for t in self._best}:
                run_folder.delete_checkpoint(
                    self.folder / candidates[number].folder, run_folder.BEST
                )
