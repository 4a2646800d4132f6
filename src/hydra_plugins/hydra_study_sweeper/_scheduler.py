"""Run the trials of a sweep: keep as many jobs running as allowed, until nothing is left."""

import contextlib
import itertools
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.hydra_study_sweeper import _samplers, run_folder
from hydra_plugins.hydra_study_sweeper._composer import Composer
from hydra_plugins.hydra_study_sweeper._display import ProgressReporter, format_number
from hydra_plugins.hydra_study_sweeper._jobs import Job, JobPool, prepare_launcher
from hydra_plugins.hydra_study_sweeper._preflight import auto_jobs, check_before, estimate_cost
from hydra_plugins.hydra_study_sweeper._results import (
    CheckpointCleaner,
    ConfigCheck,
    DataCheck,
    TrialResult,
    resolve_status,
)
from hydra_plugins.hydra_study_sweeper._resume import (
    check_compatible,
    read_fingerprint,
    restore_from_run_folders,
)
from hydra_plugins.hydra_study_sweeper._reuse import SharedResults
from hydra_plugins.hydra_study_sweeper._space import TrialParams, folder_name
from hydra_plugins.hydra_study_sweeper._trials import ENDED, Trial, TrialQueue, TrialStore
from hydra_plugins.hydra_study_sweeper.config import (
    StudySweeperConf,
    directions,
    load,
    metric_names,
    reuses_results,
)
from hydra_plugins.hydra_study_sweeper.overrides import key_of, quote
from hydra_plugins.hydra_study_sweeper.sweep_folder import JOURNAL, SWEEP, hold

GoesOn = Callable[[Mapping[str, str]], bool]  # of a trial's values: whether it is run
TICK_S = 0.5  # between two readings of the storage
STOP_SIGNALS = [  # a cluster sends SIGUSR1 some time before it kills
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
]


class Scheduler:
    """Runs the sweep in `folder`, as one of the workers that may run it at the same time.

    Args:
        settings: The sweeper's.
        folder: The sweep's folder.
        composer: Makes the trials' configs.
        stages: The parameters of a grid's trials by stage; empty for a search.
        launcher: Any Hydra launcher. It is called from several threads, with one job each.
        fingerprint: The content of sweep.yaml, see `sweep_fingerprint`.

    Raises:
        ValueError: The folder cannot be written, or the results would not be comparable.
    """

    def __init__(
        self,
        settings: StudySweeperConf,
        folder: Path,
        composer: Composer,
        stages: Sequence[Sequence[TrialParams]],
        launcher: Launcher,
        fingerprint: dict[str, Any],
    ) -> None:
        self.settings, self.folder, self.composer = settings, folder, composer
        self.launcher, self.space = launcher, composer.space
        self.search = _samplers.search_space(self.space) if self.space.intervals else None
        self.url = settings.storage or str(folder / JOURNAL)
        self.is_named = settings.named or settings.name is not None
        self.returns: dict[int, JobReturn] = {}  # of the jobs of this process, for Hydra's caller
        self.jobs = JobPool(launcher, folder, settings.timeout_s, settings.grace_s)
        self._num_signals, self._last_tick = 0, 0.0
        self.stages, self._stage, self._launcher_is_ready = stages, 0, False
        self._rule_problem: str | None = None  # why the app's rule `stop_when` failed
        self._in_rule = False  # that rule is being asked, so a signal must interrupt it
        try:
            self._open(fingerprint)
        except OSError as error:
            raise ValueError(f"cannot write {self.folder}: {error.strerror}") from error

    def _open(self, fingerprint: dict[str, Any]) -> None:
        """Open the sweep's folder and storage, add new trials, make the queue and the checks."""
        if not (is_dry := self.settings.dry_run):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._in_use = hold(self.folder)  # until this object is deleted
        settings, objectives = self.settings, directions(self.settings.direction)
        stored = read_fingerprint(self.folder, settings)
        name = folder_name if self.is_named else self.composer.folder_of_hydra
        self.store = TrialStore(self.url, self.folder.name, objectives, self.folder, name)
        attrs = self.store.optuna_study.user_attrs
        if stored is not None or attrs:
            check_compatible(self.folder, fingerprint, stored or attrs.get("sweep") or {}, settings)
        keys = self.space.keys
        names = metric_names(settings.metric_names, len(objectives))
        self.reporter = ProgressReporter(
            self.folder,
            keys,
            objectives,
            names=names,
            format_value=load(settings.format_value) or format_number,
            progress=load(settings.progress),
            writes=not is_dry,
        )
        params = [one for stage in self.stages for one in stage]
        if not is_dry:
            with self.store.locked():  # another sweeper may be at the same point
                self._write_fingerprint(fingerprint)
                self.store.describe(names, fingerprint["command"], fingerprint["about"])
                self._restore(params)
        known = self.store.by_identity
        # continue in the last stage that has trials
        begun = itertools.takewhile(
            lambda stage: any(one.identity in known for one in stage), self.stages
        )
        self._stage = max(0, len(list(begun)) - 1)
        later = [one for stage in self.stages[1 : self._stage + 1] for one in stage]
        self._planned = [*(self.stages[0] if self.stages else []), *self._of_begun_stages(later)]
        if not is_dry:
            self.store.add(self._planned, self._optuna_parameters())
        identities = None
        if self.search is None:
            identities = {one.identity for one in params} | self._requeued_identities()
        self.queue = TrialQueue(self.store, identities, settings.n_trials)
        self.data_check = DataCheck(self.store, self.composer.groups, settings.data_key)
        self.config_check = ConfigCheck(self.folder, self.composer)
        ranking = self.reporter.ranking if len(objectives) == 1 else None
        self.checkpoints = CheckpointCleaner(self.folder, settings.keep_best, ranking)
        self.shared: SharedResults | None = None
        if reuses_results(settings):
            self.shared = SharedResults(
                self.folder,
                fingerprint,
                self.composer.ignore,
                self.composer.compose,
                load(settings.known_result),
                self.data_check.fits,
                needs_weights=settings.keep_best is None,
            )
        self._update()
        self.checkpoints.add_ended(self.store.trials.values())

    def _write_fingerprint(self, fingerprint: dict[str, Any]) -> None:
        """Write sweep.yaml; its axes keep the values of earlier commands and get the new ones."""
        stored = read_fingerprint(self.folder, self.settings)
        if stored is not None and self.search is None:
            for key, values in stored["axes"].items():
                new = fingerprint["axes"].get(key, [])
                fingerprint["axes"][key] = [*values, *(one for one in new if one not in values)]
        text = OmegaConf.to_yaml(OmegaConf.create(fingerprint))
        run_folder.write_atomically(self.folder / SWEEP, text)
        self.store.optuna_study.set_user_attr("sweep", fingerprint)

    def _restore(self, params: Sequence[TrialParams]) -> None:
        """Add the trials that a lost storage had, if the storage has none."""
        self.store.sync()
        if self.store.trials:
            return
        for line in restore_from_run_folders(self.store, params, self.composer, self.search):
            self.reporter.log(line)

    def _optuna_parameters(self) -> dict[str, Sequence[str]]:
        """Return the axes that are parameters for Optuna: not those that only repeat a trial."""
        choices = self.space.choices.items()
        return {key: v for key, v in choices if key.lstrip("+") not in self.settings.repeats}

    def _requeued_identities(self) -> set[str]:
        """Return the identities of trials that `requeue_trials` made pending.

        Their axis values may be among those that this command leaves out. A trial whose values no
        longer give its identity is left out.
        """
        found = set()
        for trial in self.store.trials.values():
            if trial.waiting and trial.optuna_trial.user_attrs.get("from_scratch"):
                with contextlib.suppress(
                    KeyError, ValueError, HydraException, OmegaConfBaseException
                ):
                    if self.composer.params(trial.values).identity == trial.identity:
                        found.add(trial.identity)
        return found

    def run(self) -> int:
        """Run the trials that are missing, and return the exit code."""
        if self.settings.dry_run:
            self._dry_run()
            return 0
        settings = self.settings
        self.queue.requeue_unfinished(settings.max_retries, rerun_failed=settings.rerun_failed)
        self._update()
        self.queue.sort()
        self._reclaim_stale_trials()
        if to_run := self.queue.num_pending():
            self._check_before()
            if (start := getattr(self.launcher, "start", None)) is not None:
                start()  # it imports while this process prepares and estimates
            self._prepare_launcher()
        disk = self._disk_needed(to_run)
        self._log_plan(to_run, disk)
        if disk is not None and disk > (free := shutil.disk_usage(self.folder).free):
            raise ValueError(
                f"the sweep needs about {disk / 1e9:.3g} GB, and {free / 1e9:.3g} are free"
            )
        if not to_run and self._is_last_stage():
            self.reporter.log("nothing to do")
        try:
            self._run_until_done()
            return self._finish_sweep()
        except OSError as error:
            self.jobs.stop()  # they save a checkpoint and exit, before this process exits
            raise ValueError(
                f"cannot write {self.folder}: {error.strerror}; the same command continues the"
                " sweep when that is solved"
            ) from error

    def _dry_run(self) -> None:
        """Print what the command would do for a sweep that exists; change nothing."""
        self._update()
        planned = {one.identity for one in self._planned}
        new = len(planned - self.store.by_identity.keys())
        settings, trials = self.settings, self.store.trials.values()
        retries, rerun_failed = settings.max_retries, settings.rerun_failed
        again = [t for t in trials if self.queue.next_attempt(t, retries, rerun_failed)]
        stale = [t for t in self.store.stale_trials() if self.queue.belongs_to_sweep(t)]
        if to_run := self.queue.num_pending() + new + len(again) + len(stale):
            self._prepare_launcher()
        self._log_plan(to_run, self._disk_needed(to_run), new=new)
        self.reporter.log("not started")

    def _check_before(self) -> None:
        """Ask the app whether the trials that have not ended can run."""
        known = self.store.trials.values()
        trials = [t.values for t in known if not t.ended and self.queue.belongs_to_sweep(t)]
        check_before(self.settings, self.composer, trials)

    def _prepare_launcher(self) -> None:
        """Prepare the launcher, once."""
        if not self._launcher_is_ready:
            params = [one for stage in self.stages for one in stage]
            trials = self.queue.num_pending() if self._is_last_stage() else len(params)
            self.reporter.n_jobs = prepare_launcher(
                self.launcher,
                self.settings.n_jobs,
                lambda: auto_jobs(self.settings, self.composer, params, trials),
            )
            self._launcher_is_ready = True

    def _disk_needed(self, to_run: int) -> int | None:
        """Estimate the bytes for `to_run` trials from the last finished ones, or ask the app.

        The app's estimate includes the time, which the reporter gets here.
        """
        if not to_run:
            return 0
        finished = [t for t in self.store.trials.values() if t.status == "finished"][-20:]
        if finished:
            sizes = sum(run_folder.size(self.folder / trial.folder) for trial in finished)
            return sizes * to_run // len(finished)
        cost = estimate_cost(self.settings, self.composer, self._planned)
        if cost is None:
            return None
        self.reporter.estimated_s = cost.seconds
        return int(cost.running * self.reporter.n_jobs + cost.ended * to_run)

    def _log_plan(self, to_run: int, disk: int | None, *, new: int = 0) -> None:
        """Print how many trials are to run, what they need, and the stages."""
        self.reporter.log(self.reporter.format_plan(to_run, disk, new=new))
        if len(self.stages) > 1:
            sizes = ", ".join(
                str(sum(map(len, self.stages[:k]))) for k in range(1, len(self.stages) + 1)
            )
            self.reporter.log(
                f"stages of at most {sizes} trials: it ends after the first that is"
                f" {self.settings.stop_when}"
            )

    def _run_until_done(self) -> None:
        """Keep `n_jobs` jobs running until no trial is left, in this stage and the next ones."""
        is_main = threading.current_thread() is threading.main_thread()
        before = {n: signal.signal(n, self._on_signal) for n in STOP_SIGNALS} if is_main else {}
        self.reporter.start()
        try:
            while True:
                while len(self.jobs) < self.reporter.n_jobs and self.submit_next():
                    pass
                if not self.jobs and (self.jobs.stopping or self._all_done()):
                    if self._start_next_stage():
                        continue
                    return
                self._wait()
        finally:
            self.reporter.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _all_done(self) -> bool:
        """Return whether no trial is pending here or running on another worker."""
        if self.queue.num_pending() > 0:
            return False
        self.store.sync()
        self._update()
        return not self.queue.any_running()

    def _start_next_stage(self) -> bool:
        """Add the next stage's trials; False if there is none, or if `stop_when` ends the sweep.

        First come trials of the stages that have begun. A new value of another axis may lack them,
        because the rule did not let it go on before its trials of the first stage had ended.
        """
        if self.jobs.stopping or self.queue.interrupted:
            return False
        left_out = self._left_out()
        if self._is_last_stage() and not left_out:
            return False
        try:
            goes_on = self._ask_rule()
        except KeyboardInterrupt:  # raised by `_on_signal`
            return False
        if self.jobs.stopping or self._rule_problem:
            return False
        name, stage = self.settings.stop_when, f"stage {self._stage + 1} of {len(self.stages)}"
        if goes_on is None:
            self.reporter.log(f"{stage}: {name}")
            return False
        whole, part = left_out, [one for one in left_out if goes_on(one.values)]
        if not part and not self._is_last_stage():
            self._stage += 1
            whole = self.stages[self._stage]
            part = [one for one in whole if goes_on(one.values)]
        if not part and self._is_last_stage():
            return False
        count = f" with {len(part)} of {len(whole)} trials" if len(part) < len(whole) else ""
        self.reporter.log(f"{stage}: not {name}, going on{count}")
        self._planned += part
        self.store.add(part, self._optuna_parameters())
        self._update()
        self.queue.sort()
        self._prepare_launcher()
        return True

    def _left_out(self) -> Sequence[TrialParams]:
        """Return the trials of the stages that have begun that the sweep does not have."""
        begun = (one for stage in self.stages[: self._stage + 1] for one in stage)
        return [one for one in begun if one.identity not in self.store.by_identity]

    def _ask_rule(self) -> GoesOn | None:
        """Ask the app's rule `stop_when`; None if it ends the sweep, or fails (`_rule_problem`)."""
        name = str(self.settings.stop_when)
        self._in_rule = True
        try:
            goes_on: GoesOn | None = load((self.settings.stop_rules or {})[name])(self.folder)
            return goes_on
        except Exception as error:  # in code of the app; report it at the end, after the results
            key = self.settings.key("stop_when")
            self._rule_problem = (
                f"{key}={name}: {type(error).__name__}: {error}; the same command asks again, and"
                f" {key}=null runs all stages"
            )
            return None
        finally:
            self._in_rule = False

    def _of_begun_stages(self, params: Sequence[TrialParams]) -> list[TrialParams]:
        """Return those of `params` that the sweep has, or that the rule lets go on."""
        known = self.store.by_identity
        if all(one.identity in known for one in params):
            return list(params)
        goes_on = self._ask_rule() or (lambda values: False)
        return [one for one in params if one.identity in known or goes_on(one.values)]

    def _is_last_stage(self) -> bool:
        """Return whether no stage follows; True for a search and a grid without stages."""
        return self._stage >= len(self.stages) - 1

    def _wait(self) -> None:
        """Wait up to a tick for a job to end; check the storage, stale trials and timeouts."""
        job = self.jobs.wait_any(TICK_S)
        if job is not None and self.on_job_end(job):
            self.start_trial(job.trial)
        if time.monotonic() - self._last_tick > TICK_S:
            self._last_tick = time.monotonic()
            self.store.sync()
            self._update()
            self._reclaim_stale_trials()
            self.jobs.check_timeouts()
        pending = 0 if self.jobs.stopping else self.queue.num_pending()
        self.reporter.refresh(pending + len(self.jobs), self.jobs.values())

    def _update(self) -> None:
        """Pass the trials that any worker has changed to the reporter and the queue."""
        changed = self.store.pop_changes()
        self.reporter.update(changed)
        self.queue.update(changed)

    def submit_next(self) -> bool:
        """Claim a trial and start it; False if there is none now."""
        if self.jobs.stopping:
            return False
        trial = self.queue.claim_next()
        if trial is None and self.queue.num_to_sample() > 0:
            trial = self._sample_trial()
        if trial is not None:
            self.start_trial(trial)
        return trial is not None

    def _sample_trial(self) -> Trial:
        """Add a trial with the sampler's suggestions, claimed by this worker."""
        assert self.search is not None
        settings, number = self.settings, len(self.store.trials)
        key = settings.key("sampler")
        sampler = _samplers.make_sampler(settings.sampler, settings.sampler_seed, number, key)
        optuna_trial = self.store.ask(sampler, self.search)
        values = {key: _samplers.to_override(v) for key, v in optuna_trial.params.items()}
        return self.store.attach_params(optuna_trial, self.composer.params(values))

    def start_trial(self, trial: Trial) -> None:
        """Launch a claimed trial, unless its result is known or a duplicate will give it."""
        duplicate = self.store.duplicate_of(trial)
        if duplicate is not None:
            if duplicate.ended:
                self._finish_trial(trial, duplicate.result)
            return  # otherwise `_finish_trial` of the first trial also finishes this one
        result = self._stored_result(trial)
        # a failed run starts again, unless its result was refused just now: so would the next one
        if result is not None and (result["status"] != "failed" or self._problem()):
            self._finish_trial(trial, result)
            if problem := self._problem():
                self.stop(problem)
            return
        from_scratch = trial.optuna_trial.user_attrs.get("from_scratch", False)
        if result is None and not from_scratch and self._reuse(trial):
            return
        run_folder.prepare_attempt(self.folder / trial.folder, from_scratch=from_scratch)
        self.jobs.submit(trial, self._overrides(trial))
        self._update()

    def _reuse(self, trial: Trial) -> bool:
        """Finish a trial with the result of another sweep's trial; False if there is none."""
        origin = self.shared.take(trial) if self.shared is not None else None
        result = self._stored_result(trial) if origin is not None else None
        if result is None:
            return False
        self.reporter.log(f"{trial.folder}: the result of {origin}")
        self._finish_trial(trial, result)
        return True

    def _overrides(self, trial: Trial) -> list[str]:
        """Return the command line of a trial, without the settings of the sweep.

        A run does not need them, and they may contain the password of a storage. With a pruner, the
        run gets the storage in `hydra.sweeper.trial`.
        """
        self.space.check(trial.values)
        overrides = [
            *self.composer.overrides(trial.values),
            f"hydra.sweep.dir={quote(str(self.folder))}",
            f"hydra.sweep.subdir={quote(trial.folder)}",
        ]
        if (node := self.settings.settings_from) is not None:
            overrides = [one for one in overrides if not key_of(one).startswith(f"{node}.")]
        if self.settings.pruner != "none":
            reporter = f"storage:{quote(self.url)},study:{quote(self.folder.name)}"
            reporter += f",number:{trial.optuna_trial.number},pruner:{self.settings.pruner}"
            overrides.append(f"hydra.sweeper.trial={{{reporter}}}")
        return overrides

    def on_job_end(self, job: Job) -> bool:
        """Store how a job ended; return True if its trial is to start again at once.

        With `on_error=stop`, only a failure without a retry stops the sweep.
        """
        trial, result = job.trial, self._resolve(job)
        if not self.is_named and isinstance(job.result, JobReturn):
            self.returns[trial.number] = job.result
        if problem := self._problem():
            self.stop(problem)
        if self._should_retry(trial, result):
            return True
        if result["status"] in ENDED:
            self._finish_trial(trial, result)
        else:
            self._requeue(trial, result)
        failed = result["status"] in ("failed", "interrupted") and not self.jobs.stopping
        if failed and self.settings.on_error == "stop":
            how = "failed" if result["status"] == "failed" else "was interrupted"
            self.stop(f"a trial {how}, and {self.settings.key('on_error')}=stop")
        return False

    def _resolve(self, job: Job) -> TrialResult:
        """Determine the result of a job; write a failure that the run did not write itself."""
        trial, folder = job.trial, self.folder / job.trial.folder
        result = resolve_status(folder, job.result, len(self.reporter.directions))
        if job.timed_out:
            limit = f"{self.settings.key('timeout_s')}={self.settings.timeout_s:g}"
            result = {**result, "status": "failed", "error": f"ran longer than {limit}"}
        result = self._check_result(trial, result)
        if result["status"] == "failed":
            run_folder.record_failure(folder, result["error"])
        return result

    def _stored_result(self, trial: Trial) -> TrialResult | None:
        """Return the final result in a run folder; None if the run is to start or continue."""
        metrics = run_folder.read_result(self.folder / trial.folder)
        if metrics is None or metrics["status"] not in ENDED:
            return None
        result = resolve_status(self.folder / trial.folder, None, len(self.reporter.directions))
        return self._check_result(trial, result)

    def _check_result(self, trial: Trial, result: TrialResult) -> TrialResult:
        """Return `result`, or a failed one if the run had other data or another config.

        That failure is also written into the run's folder.
        """
        if result["status"] != "finished":
            return result
        error = self.data_check.check(trial, result) or self.config_check.check(trial)
        if error is None:
            return result
        run_folder.record_failure(self.folder / trial.folder, error)
        return {**result, "status": "failed", "error": error}

    def _problem(self) -> str | None:
        """Return what stops the sweep: changed data, a changed config, a failed rule; else None."""
        return self.data_check.problem or self.config_check.problem or self._rule_problem

    def _should_retry(self, trial: Trial, result: TrialResult) -> bool:
        """Return whether to retry the trial from its last checkpoint; if so, count and print it."""
        failures, allowed = trial.num_failures + 1, self.settings.max_retries
        if failures > allowed or self.jobs.stopping:
            return False
        if result["status"] not in ("failed", "interrupted"):
            return False
        self.reporter.log(f"retry {failures}/{allowed}: {trial.folder}: {result['error']}")
        self.store.set_num_failures(trial, failures)
        return True

    def _requeue(self, trial: Trial, result: TrialResult) -> None:
        """Make a stopped or interrupted trial, and its duplicates, pending for the next command."""
        for one in (trial, *self._duplicates_of(trial)):
            self.queue.interrupted.add(one.number)
            self.store.requeue(one, result["status"], result.get("error"))
        self._update()
        self.reporter.log_end(trial)

    def _finish_trial(self, trial: Trial, result: TrialResult) -> None:
        """Store the final result of a trial and of its duplicates."""
        self.store.finish(trial, ENDED[result["status"]], result)
        self._update()
        self.reporter.log_end(trial)
        if result["status"] != "failed":
            self.checkpoints.clean(trial)
        for duplicate in self._duplicates_of(trial):
            self._finish_trial(duplicate, result)

    def _duplicates_of(self, trial: Trial) -> list[Trial]:
        """Return the repeated suggestions of a search that wait for this trial's result."""
        if self.search is None:
            return []
        trials = self.store.trials.values()
        same = (t for t in trials if t.identity == trial.identity and t is not trial)
        return [t for t in same if t.status == "running" and t.number not in self.jobs]

    def _reclaim_stale_trials(self) -> None:
        """Store a heartbeat; finish stale trials from their metrics.json, or make them pending."""
        self.store.worker.heartbeat()
        for trial in self.store.stale_trials():
            if run_folder.is_locked(self.folder / trial.folder):
                continue  # its run is still saving
            if (result := self._stored_result(trial)) is not None:
                self._finish_trial(trial, result)
                if problem := self._problem():
                    self.stop(problem)
            elif self.store.reclaim(trial):
                self._update()

    def stop(self, reason: str) -> None:
        """Print `reason`, start no more trials, and ask the jobs to save a checkpoint and exit."""
        if not self.jobs.stopping:
            self.reporter.log(reason)
            self.jobs.stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop at the first signal, kill the jobs at the second, exit at the third."""
        self._num_signals += 1
        in_rule, self._in_rule = self._in_rule, False
        if self._num_signals == 1:
            self.stop(
                "stopping: running trials save a checkpoint and exit; press Ctrl-C again to kill"
                " them"
            )
        elif self._num_signals == 2:
            self.jobs.kill()
        else:
            os._exit(130)
        if in_rule:  # the rule may take long; the same command will ask it again
            raise KeyboardInterrupt

    def _finish_sweep(self) -> int:
        """Print the final table, draw a search's plots, and return the exit code."""
        self.store.sync()
        self._update()
        self.reporter.csv.write()
        self.reporter.print_summary()
        if problem := self._problem():
            raise ValueError(problem)
        stopped = self.jobs.stopping
        if self.search is not None and not stopped:
            plots, several = self.folder / "plots", len(self.reporter.directions) > 1
            problem = _samplers.write_plots(self.store.optuna_study, plots, several)
            self.reporter.log(problem or f"plots: {plots}")
        if self._num_signals:
            self.reporter.log("stopped; to go on: the same command again")
            return 130
        if interrupted := len(self.queue.interrupted):
            self.reporter.log(f"{interrupted} interrupted: the same command continues them")
        if failed := self.reporter.counts().get("failed", 0):
            key = self.settings.key("rerun_failed")
            self.reporter.log(f"{failed} failed: {key}=true runs them again")
        return 1 if failed or interrupted or stopped else 0
