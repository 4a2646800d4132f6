"""A search's space, sampler and plots, as Optuna knows them."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.types import IntervalSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hydra_plugins.hydra_study_sweeper._space import Space


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Choices as categories, intervals as numbers: of integers when both its ends are."""
    found: dict[str, BaseDistribution] = {
        key: CategoricalDistribution(values) for key, values in space.choices.items()
    }
    return found | {key: interval(key, sweep) for key, sweep in space.intervals.items()}


def interval(key: str, sweep: IntervalSweep) -> BaseDistribution:
    """An interval of Hydra's grammar: logarithmic with `tag(log, ...)`, whole with `int(...)`.

    Raises:
        ValueError: It is empty, or logarithmic and not positive.
    """
    assert sweep.start is not None
    assert sweep.end is not None
    unknown = sweep.tags - {"log", "int"}
    if unknown:
        raise ValueError(f"{key}: the tag {sorted(unknown)[0]} is unknown; known: log, int")
    log, low, high = "log" in sweep.tags, sweep.start, sweep.end
    whole = isinstance(low, int) and isinstance(high, int)
    try:
        if whole or "int" in sweep.tags:
            return IntDistribution(int(low), int(high), log=log)
        return FloatDistribution(float(low), float(high), log=log)
    except ValueError as error:
        raise ValueError(f"{key}=interval({low}, {high}): {error}") from error


def sampler(name: str, seed: int, number: int, key: str = "sampler") -> optuna.samplers.BaseSampler:
    """The sampler for trial `number`. Seeded by it, since a sampler that restarts repeats itself.

    Raises:
        ValueError: The sampler needs a package that is not installed.
    """
    own = seed * 100_003 + number
    samplers = optuna.samplers
    independent = samplers.RandomSampler(seed=own)
    other: dict[str, Any] = {"independent_sampler": independent, "warn_independent_sampling": False}
    make: Mapping[str, Any] = {
        "tpe": lambda: samplers.TPESampler(seed=own),
        "random": lambda: samplers.RandomSampler(seed=own),
        "gp": lambda: samplers.GPSampler(seed=own),
        # these two keep their place in the study; a new seed would make it another sequence
        "qmc": lambda: samplers.QMCSampler(seed=seed, scramble=True, **other),
        "cmaes": lambda: samplers.CmaEsSampler(seed=seed, **other),
        "nsgaii": lambda: samplers.NSGAIISampler(seed=own),
    }
    try:
        made: optuna.samplers.BaseSampler = make[name]()
    except ImportError as error:
        raise ValueError(f"{key}={name}: needs a package that is not installed: {error}") from error
    return made


def make_pruner(name: str) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner of that name, with Optuna's defaults."""
    pruners: dict[str, Any] = {
        "none": optuna.pruners.NopPruner,
        "median": optuna.pruners.MedianPruner,
        "percentile": lambda: optuna.pruners.PercentilePruner(25.0),
        "hyperband": optuna.pruners.HyperbandPruner,
        "halving": optuna.pruners.SuccessiveHalvingPruner,
        "wilcoxon": optuna.pruners.WilcoxonPruner,
    }
    pruner: optuna.pruners.BasePruner = pruners[name]()
    return pruner


def as_override(value: Any) -> str:
    """A sampled value as Hydra writes it."""
    return repr(value) if isinstance(value, float) else str(value)


def from_override(text: str, one: BaseDistribution) -> Any:
    """And back."""
    if isinstance(one, FloatDistribution):
        return float(text)
    return int(text) if isinstance(one, IntDistribution) else text


def plots(study: Any, folder: Path, several: bool) -> str | None:
    """Write Optuna's own plots of a search below `folder`; a sentence when that is not possible."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import optuna.visualization.matplotlib as draw
    except ImportError:
        return "Optuna's plots need matplotlib: pip install matplotlib"
    folder.mkdir(exist_ok=True)
    names = ["plot_pareto_front"] if several else list(_PLOTS)
    missing = []
    for name in names:
        try:
            with warnings.catch_warnings(action="ignore"):
                axes = getattr(draw, name)(study)
            first = axes if hasattr(axes, "figure") else axes.ravel()[0]
            first.figure.savefig(folder / f"{name.removeprefix('plot_')}.png", bbox_inches="tight")
            matplotlib.pyplot.close("all")
        except (ValueError, RuntimeError, ImportError) as error:
            missing.append(f"{name}: {error}")
    return "; ".join(missing) or None


_PLOTS = (
    "plot_param_importances",
    "plot_slice",
    "plot_parallel_coordinate",
    "plot_optimization_history",
)
