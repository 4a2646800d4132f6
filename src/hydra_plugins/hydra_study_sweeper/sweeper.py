"""Hydra sweeper that runs every multirun as a resumable Optuna study.

Choices and ranges make a grid, of which every trial runs exactly once; an interval makes a search.
The same command again continues a sweep, however it stopped; a grown axis runs what is new. A trial
is a job of any Hydra app. The app may write `metrics.json` into the job's folder, as its last file,
with `status` and `objective`, and hold a `flock` on `.lock` until then. Without that file, the
job's return value is the objective, and Hydra's job status is the status.

Five files contain facts about a trial. Each decides one question:

- `metrics.json` of its run: whether the run has ended, and how;
- `.lock` of its run: whether the run is under way;
- the storage (`study.journal`): which trials there are, which worker has claimed each, and every
  result; a lost storage is restored from the run folders;
- `sweep.yaml`: what must not change between two commands;
- `trials.csv`: nothing. It is a copy of the storage, for people and other programs. Two modules
  here read it: `_resume` takes from it the axis values of trials that a lost storage had, and
  `_reuse` finds candidates in other sweeps, whose run folders it then checks.

Public modules: `config` (settings), `run_folder` and `sweep_folder` (the files of a run and of a
sweep), `requeue` (ended trials run again), `overrides` (Hydra overrides as text), `pruning` (the
reports of a trial to its pruner).

Private modules, in the order to read them: `_space` (the axes), `_composer` (configs and
identities), `_preflight` (questions to the app before trials run), `_samplers` (Optuna's side of a
search), `_storage`, `_trials` (which worker runs which trial), `_jobs` (running jobs), `_results`
(how a trial ended), `_reuse` (results of other sweeps), `_resume` (continuing a sweep), `_display`,
`_scheduler` (the main loop), `_reporter` (the trial's side of pruning).
"""

import os
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hydra_study_sweeper import _composer, _space
from hydra_plugins.hydra_study_sweeper._preflight import auto_jobs, check_before, estimate_cost
from hydra_plugins.hydra_study_sweeper.config import (
    AUTO,
    StudySweeperConf,
    load,
    reuses_results,
    take_settings,
)
from hydra_plugins.hydra_study_sweeper.run_folder import is_plain_name, parse_plain_yaml
from hydra_plugins.hydra_study_sweeper.sweep_folder import SWEEP, read_sweep

STOPPED = 130  # the exit code after a signal

ConfigStore.instance().store(
    group="hydra/sweeper", name="base_study", node=StudySweeperConf, provider="study_sweeper"
)


class StudySweeperSearchPath(SearchPathPlugin):
    """Offers `hydra/sweeper=study` to apps that have no file of that name."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder with that option to the search path."""
        search_path.append("study_sweeper", f"file://{Path(__file__).parent / 'conf'}")


def _check_plain(config: dict[str, Any]) -> None:
    """Raise ValueError for a setting that sweep.yaml could not store and give back unchanged."""
    for key, value in config.items():
        try:
            parse_plain_yaml(OmegaConf.to_yaml(OmegaConf.create({key: value})), interpolations=True)
        except ValueError as error:
            raise ValueError(f"{key}: {error}; a sweep cannot keep it; change the value") from None


class StudySweeper(Sweeper):
    """The sweeper as Hydra calls it: `setup`, then `sweep`.

    Args:
        **settings: Those of `StudySweeperConf`.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = StudySweeperConf(**settings)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Read the settings from `config`, check them, and make the launcher.

        Raises:
            ValueError: A setting is of another type, out of bounds or unknown.
        """
        self.settings = take_settings(self.settings, config)
        self.master_config, self.loader = config, hydra_context.config_loader
        self.job_launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[list[JobReturn]]:
        """Run the missing trials of the sweep that `arguments` describe.

        Returns:
            One list of the jobs that this process ran, in the order of the trials, as Hydra's own
            sweeper does. The list is empty if `named` or `name` is set, since such a
            sweep may have very many trials.

        Raises:
            ValueError: An axis is not possible, or the results would not be comparable with those
                that the sweep has.
            SystemExit: Trials failed (1), or the sweep was stopped (130).
        """
        settings = self.settings
        axes = {**(settings.params or {}), **(settings.axes or {})}
        space = _space.read_space(
            axes, arguments, self.loader, scaled=settings.scaled, recipes=settings.recipes
        )
        self._check_axes(space)
        composer = self._make_composer(space)
        base = composer.base_config()
        _check_plain(base)
        folder = Path(str(self.master_config.hydra.sweep.dir)).absolute()
        if settings.named or settings.name is not None:
            folder /= self._sweep_name(space, base)
        before = self._axes_before(folder) if not space.intervals else {}
        if before.keys() - space.keys:  # an axis that this command gives one value stays an axis
            space = _space.with_axes(space, before, self.loader, self.master_config)
            composer = self._make_composer(space)
            base = composer.base_config()
        stages = self._make_stages(space, composer, arguments)
        self._check_ignored_axes(space, [one for stage in stages for one in stage])
        if settings.dry_run and not folder.exists():
            self._dry_run(folder, composer, space, base, stages)
            return []

        if not folder.exists():  # before it is made; the scheduler checks a sweep that continues
            check_before(settings, composer, [one.values for stage in stages for one in stage])

        # Optuna is slow to import, and the lines above do not need it
        from hydra_plugins.hydra_study_sweeper._resume import sweep_fingerprint
        from hydra_plugins.hydra_study_sweeper._scheduler import Scheduler

        first = composer.compose(next(space.grid()))
        fingerprint = sweep_fingerprint(settings, space, base, first)
        scheduler = Scheduler(settings, folder, composer, stages, self.job_launcher, fingerprint)
        if not scheduler.is_named and not settings.dry_run:  # as Hydra's own sweeper does
            OmegaConf.save(self.master_config, folder / "multirun.yaml")
        code = scheduler.run()
        if settings.on_end and not settings.dry_run and code != STOPPED:
            load(settings.on_end)(folder)
        if code:
            raise SystemExit(code)
        return [[scheduler.returns[number] for number in sorted(scheduler.returns)]]

    def _check_axes(self, space: _space.Space) -> None:
        """Raise ValueError for a key that cannot be an axis."""
        settings = self.settings
        for key in space.keys:
            if key == settings.group:
                raise ValueError(
                    f"{key}: only one per command, since each has its own axes; run {key}=a and"
                    f" then {key}=b"
                )
            if key.startswith(("hydra.", "hydra/", "~")):
                raise ValueError(f"{key}: cannot be an axis of a sweep; give it one value")

    def _make_composer(self, space: _space.Space) -> _composer.Composer:
        """Return the composer of the trials of `space`."""
        settings = self.settings
        return _composer.Composer(
            self.loader, self.master_config, space, settings.ignore, load(settings.resolve)
        )

    def _sweep_name(self, space: _space.Space, base: dict[str, Any]) -> str:
        """Return the sweep's name: `name`, or the study's, or the axes and a hash of the config."""
        settings = self.settings
        if settings.name is not None:
            if not is_plain_name(settings.name):
                key = settings.key("name")
                raise ValueError(f"{key}={settings.name}: must be a plain name, without folders")
            return settings.name
        if settings.group and settings.axes:
            choice = str(OmegaConf.select(self.master_config.hydra.runtime.choices, settings.group))
            return choice.replace("/", "-") + settings.suffix
        keys = "-".join(space.keys).replace("/", ".")[:100] or "single"
        rest = _composer.drop_keys(OmegaConf.to_container(OmegaConf.create(base)), space.keys)
        return f"{keys}-{_space.short_hash(rest)[:6]}"

    def _axes_before(self, folder: Path) -> dict[str, list[str]]:
        """Return the axes that sweep.yaml lists; none for a new sweep or a search."""
        if not (folder / SWEEP).is_file():
            return {}
        old = read_sweep(folder, otherwise=f"use {self.settings.key('name')}=NAME for a new sweep")
        if old.get("search") or not isinstance(old.get("axes"), dict):
            return {}
        return {str(key): [str(value) for value in values] for key, values in old["axes"].items()}

    def _make_stages(
        self, space: _space.Space, composer: _composer.Composer, arguments: list[str]
    ) -> list[list[_space.TrialParams]]:
        """Return the trials of a grid by stage: one stage without `stop_when`; none for a search.

        Raises:
            ValueError: The command line names a rule, and there is one stage.
        """
        settings = self.settings
        grid = [] if space.intervals else space.grid()
        params = [composer.params(values) for values in grid]
        stages, rule = settings.stages, settings.stop_when
        found = [params]
        if stages and rule is not None and params:
            found = _space.split_into_stages(params, stages["axis"], stages["counts"])
        typed = f"{settings.key('stop_when')}={rule}"
        if len(found) == 1 and typed in arguments:
            raise ValueError(
                f"{typed}: has no effect, because this sweep is not run in stages; leave it out"
            )
        return found if params else []

    def _check_ignored_axes(self, space: _space.Space, params: list[_space.TrialParams]) -> None:
        """Raise ValueError for an axis whose values all give the same trial.

        A key that the identity ignores may be an axis if it changes another setting of the trials,
        as the number of devices changes the effective batch size.
        """
        for axis in (*space.choices, *space.intervals):
            key = axis.lstrip("+")
            if not any(key == k or key.startswith(f"{k}.") for k in self.settings.ignore):
                continue
            others = [{k: v for k, v in p.values.items() if k != axis} for p in params]
            trials = {(str(o), p.identity) for o, p in zip(others, params, strict=True)}
            if len(trials) < len(params) or not params:
                raise ValueError(f"{key}: cannot be an axis of a sweep; give it one value")

    def _dry_run(
        self,
        folder: Path,
        composer: _composer.Composer,
        space: _space.Space,
        base: dict[str, Any],
        stages: list[list[_space.TrialParams]],
    ) -> None:
        """Print how many trials a new sweep has, its time and its disk; start nothing."""
        from hydra_plugins.hydra_study_sweeper._display import format_needs

        settings = self.settings
        params = [one for stage in stages for one in stage]
        counts = [len(params) or settings.n_trials]
        if len(stages) > 1:
            counts = [len(stages[0]), *counts]
        count = " to ".join(map(str, counts))
        most = counts[-1] - (known := self._num_known(composer, space, base, params))
        to_run = f"at most {most} to run ({known} known already)" if known else "all to run"
        print(f"{os.path.relpath(folder)}: {count} trials, {to_run}; not started")
        if not most:
            return
        cost = estimate_cost(settings, composer, params)
        if cost is not None:
            jobs = settings.n_jobs or 1
            if jobs == AUTO:
                jobs = auto_jobs(settings, composer, params, most)
            seconds = cost.seconds and cost.seconds * most / jobs
            disk = cost.running * jobs + cost.ended * most
            print(
                format_needs(
                    seconds, disk, f" for {most} trials, {jobs} at a time (a rough estimate)"
                )
            )

    def _num_known(
        self,
        composer: _composer.Composer,
        space: _space.Space,
        base: dict[str, Any],
        params: list[_space.TrialParams],
    ) -> int:
        """Return how many trials of a new sweep the app has results of, as it would reuse them."""
        settings = self.settings
        known = load(settings.known_result)
        if known is None or not reuses_results(settings) or settings.keep_best is None:
            return 0  # a known result has no weights, and these sweeps keep all weights
        from hydra_plugins.hydra_study_sweeper._resume import sweep_fingerprint

        first = composer.compose(next(space.grid()))
        sweep = sweep_fingerprint(settings, space, base, first)
        return sum(known(one.identity, sweep) is not None for one in params)
