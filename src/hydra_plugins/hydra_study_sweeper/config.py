"""What the sweeper can be told, and how it is read."""

import importlib
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional  # noqa: UP035


@dataclass
class StudySweeperConf:
    """hydra.sweeper. Durations in seconds; `ignore` lists the keys that cannot change a result."""

    _target_: str = "hydra_plugins.hydra_study_sweeper.sweeper.StudySweeper"
    params: Optional[Dict[str, Any]] = None  # axes, as for Hydra's basic sweeper  # noqa: UP006, UP045
    axes: Any = None  # axes of a study file
    recipes: Any = None  # {name: overrides}, for its axis `recipe`
    scaled: Any = None  # overrides of the study at this scale, before those of the command line
    about: Any = None  # whatever sweep.yaml should say of the study
    group: Optional[str] = None  # the config group of study files: its choice names the sweep  # noqa: UP045
    name: Optional[str] = None  # the sweep's folder below hydra.sweep.dir  # noqa: UP045
    suffix: str = ""  # goes behind a study's name
    storage: Optional[str] = None  # by default a journal in the sweep's folder  # noqa: UP045
    jobs: Optional[int] = None  # runs in flight; by default what the launcher has places for  # noqa: UP045
    direction: Any = "minimize"  # or a list, for several objectives
    n_trials: int = 20  # of a search
    sampler: str = "tpe"
    sampler_seed: int = 0
    prune: str = "none"
    trial_key: str = "trial"  # where a run finds what it needs to report, when trials are pruned
    on_error: str = "continue"
    retries: int = 0
    rerun_failed: bool = False
    timeout_s: Optional[float] = None  # noqa: UP045
    grace_s: float = 30.0  # between a timeout's SIGTERM and its SIGKILL
    keep_best: Optional[int] = None  # best.ckpt is kept for so many runs, last.ckpt for none  # noqa: UP045
    ignore: List[str] = field(default_factory=list)  # noqa: UP006
    data_key: str = "data"  # axes below it may change a run's data_fingerprint
    fingerprint: Optional[str] = None  # function(config) -> what must not change  # noqa: UP045
    estimate: Optional[str] = None  # function(config) -> bytes of a run (under way, ended)  # noqa: UP045
    on_end: Optional[str] = None  # function(folder), called when the sweep has ended  # noqa: UP045
    dry_run: bool = False


def directions(direction: Any) -> list[str]:
    """One direction for each objective."""
    return [direction] if isinstance(direction, str) else list(direction)


def load(path: str | None) -> Any:
    """The function that `package.module.function` names, or None."""
    if path is None:
        return None
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
