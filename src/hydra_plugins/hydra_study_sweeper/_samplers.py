"""Make Optuna's distributions, samplers, pruners and plots of a search."""

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

_PLOTS = (
    "plot_param_importances",
    "plot_slice",
    "plot_parallel_coordinate",
    "plot_optimization_history",
)


def search_space(space: Space) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution per axis: choices as categories, intervals as numbers."""
    choices: dict[str, BaseDistribution] = {
        key: CategoricalDistribution(values) for key, values in space.choices.items()
    }
    return choices | {
        key: _interval_distribution(key, sweep) for key, sweep in space.intervals.items()
    }


def _interval_distribution(key: str, sweep: IntervalSweep) -> BaseDistribution:
    """Return the distribution of an interval in Hydra's grammar.

    It is logarithmic with `tag(log, ...)`. Its values are integers with `int(...)`, or if both ends
    are integers.

    Raises:
        ValueError: It is empty, or logarithmic and not positive, or has an unknown tag.
    """
    assert sweep.start is not None
    assert sweep.end is not None
    unknown = sweep.tags - {"log", "int"}
    if unknown:
        raise ValueError(f"{key}: the tag {sorted(unknown)[0]} is unknown; choose from log, int")
    log, low, high = "log" in sweep.tags, sweep.start, sweep.end
    whole = isinstance(low, int) and isinstance(high, int)
    try:
        if whole or "int" in sweep.tags:
            return IntDistribution(int(low), int(high), log=log)
        return FloatDistribution(float(low), float(high), log=log)
    except ValueError as error:
        raise ValueError(f"{key}=interval({low}, {high}): {error}") from error


def make_sampler(
    name: str, seed: int, number: int, key: str = "sampler"
) -> optuna.samplers.BaseSampler:
    """Return the sampler for trial `number`.

    Its seed depends on that number: with one seed for all trials, a sampler that is made anew after
    a restart would repeat its suggestions.

    Args:
        name: One of the choices of the setting `sampler`.
        seed: The setting `sampler_seed`.
        number: The trial's number.
        key: The setting's name in an error.

    Raises:
        ValueError: The sampler needs a package that is not installed.
    """
    own_seed = seed * 100_003 + number
    samplers = optuna.samplers
    independent = samplers.RandomSampler(seed=own_seed)
    other: dict[str, Any] = {"independent_sampler": independent, "warn_independent_sampling": False}
    factories: Mapping[str, Any] = {
        "tpe": lambda: samplers.TPESampler(seed=own_seed),
        "random": lambda: samplers.RandomSampler(seed=own_seed),
        "gp": lambda: samplers.GPSampler(seed=own_seed),
        # these two keep their state in the study; a new seed would give another sequence
        "qmc": lambda: samplers.QMCSampler(seed=seed, scramble=True, **other),
        "cmaes": lambda: samplers.CmaEsSampler(seed=seed, **other),
        "nsgaii": lambda: samplers.NSGAIISampler(seed=own_seed),
    }
    try:
        sampler: optuna.samplers.BaseSampler = factories[name]()
    except ImportError as error:
        raise ValueError(f"{key}={name}: needs a package that is not installed: {error}") from error
    return sampler


def make_pruner(name: str) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner of that name, with Optuna's defaults."""
    factories: dict[str, Any] = {
        "none": optuna.pruners.NopPruner,
        "median": optuna.pruners.MedianPruner,
        "percentile": lambda: optuna.pruners.PercentilePruner(25.0),
        "hyperband": optuna.pruners.HyperbandPruner,
        "halving": optuna.pruners.SuccessiveHalvingPruner,
        "wilcoxon": optuna.pruners.WilcoxonPruner,
    }
    pruner: optuna.pruners.BasePruner = factories[name]()
    return pruner


def suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    """Ask the sampler for a value of one parameter, with Optuna's public methods."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    method = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return method(name, distribution.low, distribution.high, log=distribution.log)  # type: ignore[arg-type]


def to_override(value: Any) -> str:
    """Write a sampled value for an override; a float keeps all its digits."""
    return repr(value) if isinstance(value, float) else str(value)


def from_override(text: str, distribution: BaseDistribution) -> Any:
    """Parse an override's value into the distribution's type."""
    if isinstance(distribution, FloatDistribution):
        return float(text)
    return int(text) if isinstance(distribution, IntDistribution) else text


def write_plots(optuna_study: Any, folder: Path, several: bool) -> str | None:
    """Write Optuna's own plots of a search into `folder`.

    Args:
        optuna_study: Optuna's study.
        folder: The folder, which is made if there is none.
        several: Whether there are several objectives.

    Returns:
        What could not be drawn and why, in one line; None if all was drawn.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        import optuna.visualization.matplotlib as draw
    except ImportError:
        return "Optuna's plots need the package matplotlib, which is not installed"
    folder.mkdir(exist_ok=True)
    names = ["plot_pareto_front"] if several else list(_PLOTS)
    missing = []
    for name in names:
        try:
            # Optuna sets a style, which other plots are not to have
            with matplotlib.rc_context(), warnings.catch_warnings(action="ignore"):
                axes = getattr(draw, name)(optuna_study)
                first = axes if hasattr(axes, "figure") else axes.ravel()[0]
                file = folder / f"{name.removeprefix('plot_')}.png"
                first.figure.savefig(file, bbox_inches="tight")
                matplotlib.pyplot.close("all")
        except (ValueError, RuntimeError, ImportError) as error:
            missing.append(f"{name}: {error}")
    return "; ".join(missing) or None
