"""Compute the differences that a claim is about, one per seed."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alexlab.studies.claims import Claim
from alexlab.studies.metrics import metric_value, never_reached
from alexlab.studies.results import SEED, Run, Sweep, same
from alexlab.studies.statistics import Sample


class NotTestedError(Exception):
    """A claim cannot be tested; the message names what is missing."""


@dataclass(frozen=True)
class PairedDifferences:
    """Differences, one per seed, positive in the direction of the claim.

    For a claim of closeness they are treatment minus control.
    """

    title: str  # the comparison in words
    differences: Sample
    groups: tuple[Sample, Sample]  # the numbers compared, the larger as claimed first
    notes: list[str]

    @property
    def diverged(self) -> bool:
        """Return whether a number is infinite: it has no mean, but it has a rank."""
        return not np.isfinite(self.differences).all()


@dataclass(frozen=True)
class Group:
    """Means of a metric over the runs `name`: {(seed, values of the other axes): mean}."""

    name: str
    metric: str
    means: Mapping[tuple[str, tuple[str, ...]], float]
    notes: list[str]

    @property
    def numbers(self) -> Sample:
        """Return the means in the order of the seeds."""
        return np.array([self.means[key] for key in sorted(self.means)])


def comparisons(sweep: Sweep, claim: Claim) -> list[PairedDifferences]:
    """Return the comparisons of `claim`: one, or for `extreme` one per other condition.

    Raises:
        NotTestedError: A group has fewer than two seeds.
    """
    if claim.kind == "within":
        group = _group(sweep, claim, claim.treatment, claim.metrics[0], [])
        values, target = group.numbers, claim.target or 0.0
        title = f"{group.metric} of {group.name} minus the target"
        groups = values, np.array([target])
        return [PairedDifferences(title, values - target, groups, group.notes)]
    controls = _controls(sweep, claim)
    if not controls:
        raise NotTestedError(f"this sweep has no condition besides {sweep.label(claim.treatment)}")
    return [_against(sweep, claim, control) for control in controls]


def _controls(sweep: Sweep, claim: Claim) -> Sequence[Mapping[str, Any]]:
    """Return the controls: by default the same runs (two metrics), or all other conditions."""
    if claim.control is not None:
        return [claim.control] if isinstance(claim.control, Mapping) else list(claim.control)
    if claim.control_metric:
        return [claim.treatment]
    others = [run for run in sweep.runs if not is_at(run, claim.treatment)]
    values = [tuple((axis, run.values.get(axis, "")) for axis in claim.treatment) for run in others]
    return [dict(once) for once in dict.fromkeys(values)]


def is_at(run: Run, values: Mapping[str, Any]) -> bool:
    """Return whether `run` has these `values` of the axes."""
    return all(same(run.values.get(axis, ""), value) for axis, value in values.items())


def _against(sweep: Sweep, claim: Claim, control: Mapping[str, Any]) -> PairedDifferences:
    rest = [axis for axis in sweep.axes if axis not in claim.treatment and axis not in control]
    selected = zip((claim.treatment, control), claim.metrics, strict=True)
    groups = [_group(sweep, claim, values, metric, rest) for values, metric in selected]
    notes = [note for group in groups for note in group.notes]
    sizes = [len(group.means) for group in groups]
    if sizes[0] != sizes[1]:
        notes.append(f"{sizes[0]} numbers against {sizes[1]}: only seeds that both have count")
    if claim.direction == "less" and not claim.two_sided:
        groups.reverse()  # the treatment is claimed to be less
    first, second = groups
    differences = _differences(first, second, logs=claim.is_ratio)
    if len(differences) < 2:
        raise NotTestedError(
            f"{first.name} and {second.name} have {len(differences)} seeds in common"
        )
    if first.metric == second.metric:
        minus = "over" if claim.is_ratio else "minus"
        title = f"{first.metric}, {first.name} {minus} {second.name}"
    else:
        names = "; ".join(dict.fromkeys([first.name, second.name]))
        title = f"{first.metric} minus {second.metric}" + f" ({names})" * (names != "all runs")
    numbers = first.numbers, second.numbers
    return PairedDifferences(title, differences, numbers, list(dict.fromkeys(notes)))


def _differences(first: Group, second: Group, *, logs: bool) -> Sample:
    """Subtract where both groups have a number, and average within each seed."""
    by_seed = defaultdict(list)
    for key in sorted(first.means.keys() & second.means.keys()):  # a sum depends on the order
        one, other = first.means[key], second.means[key]
        if logs:
            one, other = (math.log(v) if v > 0 else math.nan for v in (one, other))
        if not math.isnan(one - other):
            by_seed[key[0]].append(one - other)
    return np.array([np.mean(by_seed[seed]) for seed in sorted(by_seed)])


def _group(
    sweep: Sweep, claim: Claim, values: Mapping[str, Any], metric: str, rest: list[str]
) -> Group:
    """Average the runs at `values` per seed and combination of the axes in `rest`.

    Raises:
        NotTestedError: There are fewer than two seeds.
    """
    name = sweep.label(values)
    if unknown := [axis for axis in values if axis not in [*sweep.axes, SEED]]:
        raise NotTestedError(f"{unknown[0]} is not an axis of this sweep")
    runs = [run for run in sweep.runs if is_at(run, values)]
    measured = [(run, metric_value(run, metric)) for run in runs if run.finished or run.diverged]
    groups = defaultdict(list)
    for run, value in measured:
        if not math.isnan(value):
            groups[run.seed, tuple(run.values[axis] for axis in rest)].append(value)
    used = sum(map(len, groups.values()))
    if len({seed for seed, _ in groups}) < 2:
        why = f"{used} of {len(runs)} runs" + f" with {metric}" * (used < len(measured))
        error = next((f" ({run.error.split(':', 1)[-1].strip()})" for run in runs if run.error), "")
        raise NotTestedError(f"{name} has {why}{error}; at least two seeds are needed")
    notes = [f"{name}: {used} of {len(runs)} runs have a number"] * (used < len(runs))
    if diverged := sum(value == math.inf for _, value in measured):
        ranks = ", so ranks are tested" * (not claim.two_sided)
        notes.append(f"{name}: {diverged} of {len(runs)} runs diverged{ranks}")
    if never := sum(never_reached(run, metric) for run, _ in measured):
        notes.append(
            f"{name}: {never} of {used} runs never reached it; they count as one more epoch"
        )
    means = {key: float(np.mean(values)) for key, values in groups.items()}
    return Group(name, metric, means, notes)
