"""Cells: the runs that differ by their seed only, and what they come to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alexlab.studies.metrics import metric_value
from alexlab.studies.results import Run, Sweep, same
from alexlab.studies.statistics import Sample, interval


class Spread(NamedTuple):
    """What seeds came to. `low` to `high` is the interval of the mean; NaN for fewer than two."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Condition:
    """`runs` are those that finished, of `planned`; intervals cover 1 - `level`."""

    label: str
    values: Mapping[str, str]
    runs: Sequence[Run]
    planned: int
    level: float

    def numbers(self, word: str) -> Sample:
        """The finite numbers of its runs."""
        found: Sample = np.array([metric_value(run, word) for run in self.runs])
        return found[np.isfinite(found)]

    def spread(self, word: str) -> Spread:
        """Mean, standard deviation (n - 1) and t interval of its numbers."""
        values = self.numbers(word)
        mean = float(values.mean()) if len(values) else math.nan
        sd = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        return Spread(len(values), mean, sd, *interval(values, self.level))

    def curve(self, column: str) -> Sample:
        """A column of history.csv, [runs, epochs], NaN after a run's last epoch."""
        rows = [run.history[column] for run in self.runs if column in run.history]
        longest = max(map(len, rows), default=0)
        return np.array([[*row, *[math.nan] * (longest - len(row))] for row in rows])


def conditions(sweep: Sweep) -> list[Condition]:
    """The sweep's cells, in the order of its axes."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in sweep.runs:
        groups.setdefault(tuple(run.values[axis] for axis in sweep.axes), []).append(run)
    found = []
    for key, runs in groups.items():
        values = dict(zip(sweep.axes, key, strict=True))
        finished = [run for run in runs if run.finished]
        found.append(Condition(sweep.label(values), values, finished, len(runs), sweep.level))
    return found


def not_run(sweep: Sweep) -> list[str]:
    """The cells along the study's axes that are no part of this sweep, one axis at a time."""
    asked = {axis: str(values).split(",") for axis, values in sweep.about.get("axes", {}).items()}
    swept = {axis: {run.values[axis] for run in sweep.runs} for axis in sweep.axes}
    return [
        sweep.label({axis: value})
        for axis, values in asked.items()
        for value in values
        if axis in swept and not any(same(value, other) for other in swept[axis])
    ]
