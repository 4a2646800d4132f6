"""A Hydra sweeper behind which every multirun is an Optuna study that cannot be lost.

Choices and ranges make a grid, of which every cell runs exactly once; an interval makes a search.
The same command again goes on where the last one stopped, however it stopped; a grown axis runs
what is new. A job is anything that leaves `metrics.json` in its folder, written last, with `status`
and `objective`, and that holds a `flock` on `.lock` meanwhile.

To read on, in this order; each is one thing and a few minutes:
- what it can be told: `_study_settings`
- cells: `_study_space` (a command line's), `_study_composer` (their identity), `_study_search` (a
  sampler's)
- the study: `_study_record` and `_study_entries` (its trials), `_study_ledger` (whose they are),
  `_study_workers` (who lives), `_study_storage` and `_study_journal` (where it is kept)
- the loop: `_study_run`, with `_study_queue` (what waits), `_study_starts`, `_study_flights` (what
  is under way), `_study_ends`, `_study_judge`, `_study_outcome` and `_study_folder` (how it ended),
  `_study_checkpoints` (what is kept of it)
- before it: `_study_signature` (may it go on?), `_study_rebuild` (a lost study),
  `_study_disk` (is there room?)
- what a user sees: `_study_board`, `_study_console`, `_study_csv`
- what a run says to its study meanwhile: `_study_pruning`
"""

import os
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hydra_study_sweeper import _composer, _space
from hydra_plugins.hydra_study_sweeper.config import StudySweeperConf, load, take_settings
from hydra_plugins.hydra_study_sweeper.run_folder import is_plain_name

ConfigStore.instance().store(
    group="hydra/sweeper", name="study", node=StudySweeperConf, provider="study_sweeper"
)


class StudySweeper(Sweeper):
    """See the module; the settings are those of `StudySweeperConf`."""

    def __init__(self, **settings: Any) -> None:
        self.settings = StudySweeperConf(**settings)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """See Sweeper."""
        self.settings = take_settings(self.settings, config)
        self.composed, self.loader = config, hydra_context.config_loader
        self.through = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run what is missing of the sweep that `arguments` describe.

        Raises:
            ValueError: The command makes no sense, or its results would not be comparable with
                those that the sweep has.
            SystemExit: Trials failed (1), or the sweep was stopped (130).
        """
        settings = self.settings
        axes = {**(settings.params or {}), **(settings.axes or {})}
        space = _space.read_space(
            axes, arguments, self.loader, scaled=settings.scaled, recipes=settings.recipes
        )
        self._check(space)
        composer = _composer.Composer(self.loader, self.composed, space, settings.ignore)
        shared = composer.unresolved()
        name = self._name(space, shared)
        folder = Path(str(self.composed.hydra.sweep.dir)).absolute() / name
        cells = [] if space.intervals else [composer.cell(values) for values in space.grid()]
        if settings.dry_run and not folder.exists():
            cells_in_all = len(cells) or settings.n_trials
            print(f"{os.path.relpath(folder)}: {cells_in_all} cells, all to run; not started")
            return

        from hydra_plugins.hydra_study_sweeper._resume import signature
        from hydra_plugins.hydra_study_sweeper._scheduler import (
            Run,  # Optuna is slow to import, and not always needed
        )

        made_with = signature(settings, space, shared, composer.full(next(space.grid())))
        run = Run(settings, folder, composer, cells, self.through, made_with)
        code = run.go()
        if settings.on_end and not settings.dry_run:
            load(settings.on_end)(folder)
        if code:
            raise SystemExit(code)

    def _check(self, space: _space.Space) -> None:
        """Raise ValueError for an axis that cannot be one."""
        settings = self.settings
        for key in space.keys:
            if key == settings.group:
                raise ValueError(
                    f"one {key} a command, each with its own axes: {key}=a, and then {key}=b"
                )
            fixed = any(key == other or key.startswith(f"{other}.") for other in settings.ignore)
            if fixed or key.startswith(("hydra.", "hydra/")):
                raise ValueError(f"{key}: cannot be an axis of a sweep; give it one value")

    def _name(self, space: _space.Space, shared: dict[str, Any]) -> str:
        """The sweep's name: as given, or its study's, or its axes and a digest of the rest."""
        settings = self.settings
        if settings.name is not None:
            if not is_plain_name(settings.name):
                key = settings.key("name")
                raise ValueError(f"{key}={settings.name}: must be a plain name, without folders")
            return settings.name
        if settings.group and settings.axes:
            choice = str(OmegaConf.select(self.composed.hydra.runtime.choices, settings.group))
            return choice.replace("/", "-") + settings.suffix
        keys = "-".join(space.keys).replace("/", ".")[:100] or "single"
        rest = _composer.without(OmegaConf.to_container(OmegaConf.create(shared)), space.keys)
        return f"{keys}-{_space.digest(rest)[:6]}"
