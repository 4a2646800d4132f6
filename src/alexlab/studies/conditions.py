"""Group the runs that differ only in the seed into conditions, and summarise each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alexlab.reporting.formatting import is_difference, is_fraction
from alexlab.studies.metrics import metric_value
from alexlab.studies.results import Run, Sweep, axis_values, same
from alexlab.studies.statistics import LEVEL, MIN_SEEDS, Sample, t_interval


class Spread(NamedTuple):
    """Summary over seeds; `low` to `high` is the interval of the mean, NaN for fewer than three."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Condition:
    """The finished runs, out of `planned`, that differ only in the seed; intervals are of 95%."""

    label: str
    values: Mapping[str, str]
    runs: Sequence[Run]
    planned: int

    def numbers(self, metric: str) -> Sample:
        """Return the finite values of `metric`, one per run."""
        values: Sample = np.array([metric_value(run, metric) for run in self.runs])
        return values[np.isfinite(values)]

    def spread(self, metric: str) -> Spread:
        """Compute mean, standard deviation (n - 1) and t interval of its values."""
        values = self.numbers(metric)
        mean = float(values.mean()) if len(values) else math.nan
        sd = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        if len(values) < MIN_SEEDS:
            return Spread(len(values), mean, sd, math.nan, math.nan)
        _, low, high = t_interval(values, LEVEL)
        if is_fraction(metric) and not is_difference(metric):
            low, high = max(0.0, low), min(1.0, high)  # no accuracy is above 100%
        return Spread(len(values), mean, sd, low, high)

    def curve(self, column: str) -> Sample:
        """Return a column of history.csv, [runs, epochs], NaN after the last epoch of a run."""
        rows = [run.history[column] for run in self.runs if column in run.history]
        longest = max(map(len, rows), default=0)
        return np.array([[*row, *[math.nan] * (longest - len(row))] for row in rows])


def group_by_condition(sweep: Sweep) -> list[Condition]:
    """Return the conditions of `sweep` in the order of its axes."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in sweep.runs:
        groups.setdefault(tuple(run.values[axis] for axis in sweep.axes), []).append(run)
    conditions = []
    for key, runs in groups.items():
        values = dict(zip(sweep.axes, key, strict=True))
        finished = [run for run in runs if run.finished]
        conditions.append(Condition(sweep.label(values), values, finished, len(runs)))
    return conditions


def not_run(sweep: Sweep) -> list[str]:
    """Name the axis values of the study file that the sweep lacks at its setting."""
    here = sweep.about.get(sweep.setting) or {}
    asked = {
        axis: axis_values(here.get(axis, values))
        for axis, values in sweep.about.get("axes", {}).items()
    }
    swept = {axis: {run.values[axis] for run in sweep.runs} for axis in sweep.axes}
    return [
        sweep.label({axis: value})
        for axis, values in asked.items()
        for value in values
        if axis in swept and not any(same(value, other) for other in swept[axis])
    ]
