"""Settings of the sweeper: their names, defaults and bounds, and where an app may keep them."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Dict, List, Optional  # noqa: UP035

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ValidationError


@dataclass
class StudySweeperConf:
    """The node hydra.sweeper. Durations are in seconds. A function is given as `package.function`.

    An app extends it in a file conf/hydra/sweeper/study.yaml with `defaults: [base_study]`. It may
    keep settings in a node of its own config instead, under the names below; it names that node in
    `settings_from`. Other keys of that node are ignored.
    """

    _target_: str = "hydra_plugins.hydra_study_sweeper.sweeper.StudySweeper"
    settings_from: Optional[str] = None  # noqa: UP045
    name: Optional[str] = None  # the sweep's folder below hydra.sweep.dir  # noqa: UP045
    named: bool = False  # name folders by the axes; else as hydra.sweep.dir and .subdir give
    n_jobs: Any = None  # trials at a time; auto: see `cpu_jobs`; default: the launcher's slots
    n_trials: int = 20  # of a search
    sampler: str = "tpe"  # of a search; see CHOICES
    sampler_seed: int = 0
    pruner: str = "none"  # stops trials that are worse than others; see CHOICES
    max_retries: int = 0  # of a failed trial, from its last checkpoint
    on_error: str = "continue"  # or `stop` the sweep when a trial has failed
    rerun_failed: bool = False  # run failed trials of earlier commands again, from the beginning
    timeout_s: Optional[float] = None  # of a trial; default: no limit  # noqa: UP045
    grace_s: float = 30.0  # between a timeout's SIGTERM and its SIGKILL
    keep_best: Optional[int] = None  # trials that keep best.ckpt; no other checkpoint stays  # noqa: UP045
    dry_run: bool = False  # print the plan, and run nothing
    storage: Optional[str] = None  # default: a journal in the sweep's folder  # noqa: UP045
    direction: Any = "minimize"  # or a list, one per objective
    metric_names: Any = None  # of the objectives, for people: a name, or a list
    repeats: List[str] = field(default_factory=list)  # axes that only repeat a trial  # noqa: UP006
    params: Optional[Dict[str, Any]] = None  # axes, as for Hydra's basic sweeper  # noqa: UP006, UP045
    axes: Any = None  # axes of a study file
    recipes: Any = None  # {name: overrides}, for its axis `recipe`
    scaled: Any = None  # overrides of a study at one scale; the command line replaces them
    about: Any = None  # texts of the study, stored in sweep.yaml
    group: Optional[str] = None  # the config group of study files: its choice names the sweep  # noqa: UP045
    suffix: str = ""  # appended to the name of a study's sweep: its scale, as in `-tune`
    ignore: List[str] = field(default_factory=list)  # keys that cannot change a result  # noqa: UP006
    resolve: Optional[str] = None  # function(config) -> settings that a device decides  # noqa: UP045
    data_key: str = "data"  # axes below it may change a run's data_fingerprint
    fingerprint: Optional[str] = None  # function(config) -> what must not change  # noqa: UP045
    format_value: Optional[str] = None  # function(metric name, value) -> text  # noqa: UP045
    progress: Optional[str] = None  # function(folder of a run) -> how far it is  # noqa: UP045
    cpu_jobs: Optional[str] = None  # function(config) -> trials at a time on CPUs  # noqa: UP045
    estimate: Optional[str] = None  # see `_preflight.estimate_cost`  # noqa: UP045
    before: Optional[str] = None  # function(config) that raises if no trial can run  # noqa: UP045
    on_end: Optional[str] = None  # function(folder of the sweep), called at its end  # noqa: UP045
    stages: Any = None  # {axis, counts}: a grid runs in stages, by how many values of the axis
    stop_when: Optional[str] = None  # rule that ends a sweep in stages after one of them  # noqa: UP045
    # for stop_when, {name: function(folder) -> None, which ends the sweep, or function(values) ->
    # whether a trial of the next stage is run}
    stop_rules: Any = None
    reuse: Optional[bool] = None  # take results of other sweeps; default: with `axes`  # noqa: UP045
    known_result: Optional[str] = None  # function(identity, sweep) -> metrics.json or None  # noqa: UP045
    trial: Any = None  # set in each trial, for its pruner

    def key(self, name: str) -> str:
        """Return the key under which a user sets `name`."""
        return f"{self.settings_from or 'hydra.sweeper'}.{name}"


AUTO = "auto"
MINIMUM = {"n_trials": 1, "max_retries": 0, "keep_best": 0, "grace_s": 0}
CHOICES = {
    "sampler": ("tpe", "gp", "random", "qmc", "cmaes", "nsgaii"),
    "pruner": ("none", "median", "percentile", "hyperband", "halving", "wilcoxon"),
    "on_error": ("continue", "stop"),
}


def take_settings(settings: StudySweeperConf, config: DictConfig) -> StudySweeperConf:
    """Read settings from the node `settings_from` of the app's `config`, and check all settings.

    Raises:
        ValueError: A setting has another type, is out of bounds, or stands in both places.
    """
    taken: list[str] = []
    if settings.settings_from is not None:
        node = OmegaConf.select(config, settings.settings_from)
        if not OmegaConf.is_dict(node):
            raise ValueError(
                f"{settings.settings_from}={node}: must be a mapping; set one of its keys, as in"
                f" {settings.key('name')}=NAME"
            )
        default, typed = StudySweeperConf(), OmegaConf.structured(StudySweeperConf)
        taken = [one.name for one in fields(default) if one.name in node]
        for name in taken:
            if (value := getattr(settings, name)) != getattr(default, name):
                new = settings.key(name)
                raise ValueError(f"hydra.sweeper.{name}={value}: write {new}={value} in this app")
            try:
                typed[name] = node[name]
            except ValidationError as error:
                reason = str(error).splitlines()[0]
                raise ValueError(f"{settings.key(name)}={node[name]}: {reason}") from None
            setattr(settings, name, typed[name])
    _check(settings, lambda name: settings.key(name) if name in taken else f"hydra.sweeper.{name}")
    return settings


def _check(settings: StudySweeperConf, key: Callable[[str], str]) -> None:
    """Raise ValueError for a setting that is out of its bounds or not among its choices."""
    jobs = settings.n_jobs
    is_number = isinstance(jobs, int) and not isinstance(jobs, bool)
    if jobs not in (None, AUTO) and not (is_number and jobs >= 1):
        raise ValueError(
            f"{key('n_jobs')}={jobs}: must be a whole number of at least 1, {AUTO}, or null"
        )
    optional = {one.name for one in fields(settings) if one.default is None}
    for name, least in MINIMUM.items():
        value = getattr(settings, name)
        if value is not None and not value >= least:
            hint = ", or null" if name in optional else ""
            raise ValueError(f"{key(name)}={value}: must be at least {least}{hint}")
    if settings.timeout_s is not None and not settings.timeout_s > 0:
        raise ValueError(f"{key('timeout_s')}={settings.timeout_s:g}: must be more than 0, or null")
    for name, choices in CHOICES.items():
        if (value := getattr(settings, name)) not in choices:
            known = ", ".join(choices)
            raise ValueError(f"{key(name)}={value}: unknown; choose from {known}")
    rules = settings.stop_rules or {}
    if settings.stop_when is not None and settings.stop_when not in rules:
        known = ", ".join(rules) or "nothing"
        raise ValueError(
            f"{key('stop_when')}={settings.stop_when}: unknown; choose from {known}, or null"
        )
    if len(directions(settings.direction)) > 1:
        if settings.pruner != "none":
            raise ValueError(
                f"{key('pruner')}={settings.pruner}: needs one objective, since Optuna"
                " cannot rank unfinished trials by several; use none"
            )
        if settings.sampler == "cmaes":
            name = key("sampler")
            raise ValueError(f"{name}=cmaes: takes one objective; use tpe, nsgaii, gp or random")


def reuses_results(settings: StudySweeperConf) -> bool:
    """Return whether a sweep takes known results, of other sweeps or the app; a study does."""
    return bool(settings.axes if settings.reuse is None else settings.reuse)


def directions(direction: Any) -> list[str]:
    """Return one direction per objective."""
    return [direction] if isinstance(direction, str) else list(direction)


def metric_names(names: Any, count: int) -> list[str]:
    """Return the names of `count` objectives; none if they are not known."""
    found = [names] if isinstance(names, str) else [str(name) for name in names or ()]
    return found if len(found) == count else []


def load(path: str | None) -> Any:
    """Import the function at `path`, as in `package.module.function`; None stays None."""
    if path is None:
        return None
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
