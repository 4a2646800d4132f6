"""Cells: the runs that differ by their seed only, and what they come to."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from src.studies.metrics import number
from src.studies.statistics import Sample, interval
from src.studies.sweep import Run, Sweep, same


@dataclass(frozen=True)
class Cell:
    """`runs` are those that finished, of `planned`."""

    label: str
    values: Mapping[str, str]
    runs: Sequence[Run]
    planned: int

    def numbers(self, word: str) -> Sample:
        """The finite numbers of its runs."""
        found: Sample = np.array([number(run, word) for run in self.runs])
        return found[np.isfinite(found)]

    def curve(self, column: str) -> Sample:
        """A column of history.csv, [runs, epochs], NaN after a run's last epoch."""
        rows = [run.history[column] for run in self.runs if column in run.history]
        longest = max(map(len, rows), default=0)
        return np.array([[*row, *[math.nan] * (longest - len(row))] for row in rows])


@dataclass(frozen=True)
class Spread:
    """What seeds came to. `low` to `high` is the interval of the mean; NaN for fewer than two."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


def spread(values: Sample, level: float) -> Spread:
    """Mean, standard deviation (n - 1) and t interval of `values`."""
    if not len(values):
        return Spread(0, *[math.nan] * 4)
    sd = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return Spread(len(values), float(values.mean()), sd, *interval(values, level))


def cells(sweep: Sweep) -> list[Cell]:
    """The sweep's cells, in the order of its axes."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in sweep.runs:
        groups.setdefault(tuple(run.values[axis] for axis in sweep.axes), []).append(run)
    found = []
    for key, runs in groups.items():
        values = dict(zip(sweep.axes, key, strict=True))
        finished = [run for run in runs if run.finished]
        found.append(Cell(sweep.label(values), values, finished, len(runs)))
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


def all_words(sweep: Sweep, claim_words: Iterable[str]) -> list[str]:
    """The numbers of a sweep that its tables show: the task's metric, costs, those of claims."""
    main = sweep.metric
    recorded = dict.fromkeys(name for run in sweep.done for name in run.record["metrics"])
    views = [name for name in recorded if name.startswith(f"test/{main}_")]  # of several crops
    words = [f"{split}/{main}" for split in ("test", "val", "train")]
    return list(dict.fromkeys([*words, *views, *claim_words]))
