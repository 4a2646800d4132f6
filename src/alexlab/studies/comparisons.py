"""The differences that a claim is about, one a seed."""

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
    """There is not enough to test a claim with; says what is missing."""


@dataclass(frozen=True)
class PairedDifferences:
    """Differences `d`, one a seed, positive where they go the way of the claim.

    (For a claim that something is near, simply `of` minus `than`.)
    """

    title: str  # what is compared
    d: Sample
    sides: tuple[Sample, Sample]  # what was compared, the larger as claimed first
    notes: list[str]

    @property
    def diverged(self) -> bool:
        """Whether a number is infinite: there is no mean to test, but there are ranks."""
        return not np.isfinite(self.d).all()


@dataclass(frozen=True)
class Side:
    """The means of `word` of the runs `name`: {(seed, values of the other axes): mean}."""

    name: str
    word: str
    means: Mapping[tuple[str, tuple[str, ...]], float]
    notes: list[str]

    @property
    def numbers(self) -> Sample:
        """The means, in the order of the seeds."""
        return np.array([self.means[key] for key in sorted(self.means)])


def comparisons(sweep: Sweep, claim: Claim) -> list[PairedDifferences]:
    """What `claim` compares: one pair of sides, or for `extreme` one for each other cell.

    Raises:
        NotTestedError: A side has fewer than two seeds.
    """
    if claim.kind == "within":
        of = _side(sweep, claim, claim.of, claim.words[0], [])
        values, target = of.numbers, claim.target or 0.0
        title = f"{of.word} of {of.name} minus the target"
        return [PairedDifferences(title, values - target, (values, np.array([target])), of.notes)]
    others = _others(sweep, claim)
    if not others:
        raise NotTestedError(f"there is nothing beside {sweep.label(claim.of)} in this sweep")
    return [_against(sweep, claim, than) for than in others]


def _others(sweep: Sweep, claim: Claim) -> Sequence[Mapping[str, Any]]:
    """`than`; without it the same runs, of two metrics, or all other values of the axes in `of`."""
    if claim.than is not None:
        return [claim.than] if isinstance(claim.than, Mapping) else list(claim.than)
    if claim.than_metric:
        return [claim.of]
    others = [run for run in sweep.runs if not chosen(run, claim.of)]
    values = [tuple((axis, run.values.get(axis, "")) for axis in claim.of) for run in others]
    return [dict(once) for once in dict.fromkeys(values)]


def chosen(run: Run, values: Mapping[str, Any]) -> bool:
    """Whether `run` stands at `values` of the axes."""
    return all(same(run.values.get(axis, ""), value) for axis, value in values.items())


def _against(sweep: Sweep, claim: Claim, than: Mapping[str, Any]) -> PairedDifferences:
    rest = [axis for axis in sweep.axes if axis not in claim.of and axis not in than]
    chosen_by = zip((claim.of, than), claim.words, strict=True)
    sides = [_side(sweep, claim, values, word, rest) for values, word in chosen_by]
    notes = [note for side in sides for note in side.notes]
    sizes = [len(side.means) for side in sides]
    if sizes[0] != sizes[1]:
        notes.append(f"{sizes[0]} numbers against {sizes[1]}: only seeds that both have count")
    if claim.kind == "gap" or (claim.kind == "extreme" and claim.end == "lowest"):
        sides.reverse()  # `of` is claimed to be less
    first, second = sides
    d = _differences(first, second, logs=claim.kind == "variability")
    if len(d) < 2:
        raise NotTestedError(f"{first.name} and {second.name} have {len(d)} seeds in common")
    if first.word == second.word:
        minus = "over" if claim.kind == "variability" else "minus"
        title = f"{first.word}, {first.name} {minus} {second.name}"
    else:
        names = "; ".join(dict.fromkeys([first.name, second.name]))
        title = f"{first.word} minus {second.word}" + f" ({names})" * (names != "all runs")
    return PairedDifferences(title, d, (first.numbers, second.numbers), list(dict.fromkeys(notes)))


def _differences(first: Side, second: Side, *, logs: bool) -> Sample:
    """`first` minus `second` where both have a number, averaged within each seed."""
    by_seed = defaultdict(list)
    for key in sorted(first.means.keys() & second.means.keys()):  # a sum depends on the order
        one, other = first.means[key], second.means[key]
        if logs:
            one, other = (math.log(v) if v > 0 else math.nan for v in (one, other))
        if not math.isnan(one - other):
            by_seed[key[0]].append(one - other)
    return np.array([np.mean(by_seed[seed]) for seed in sorted(by_seed)])


def _side(
    sweep: Sweep, claim: Claim, values: Mapping[str, Any], word: str, rest: list[str]
) -> Side:
    """Runs at `values`, averaged for each seed and combination of the axes in `rest`.

    Raises:
        NotTestedError: There are fewer than two seeds.
    """
    name = sweep.label(values)
    if unknown := [axis for axis in values if axis not in [*sweep.axes, SEED]]:
        raise NotTestedError(f"{unknown[0]} is no axis of this sweep")
    runs = [run for run in sweep.runs if chosen(run, values)]
    found = [(run, metric_value(run, word)) for run in runs if run.finished or run.diverged]
    groups = defaultdict(list)
    for run, value in found:
        if not math.isnan(value):
            groups[run.seed, tuple(run.values[axis] for axis in rest)].append(value)
    used = sum(map(len, groups.values()))
    if len({seed for seed, _ in groups}) < 2:
        why = f"{used} of {len(runs)} runs" + f" with {word}" * (used < len(found))
        error = next((f" ({run.error.split(':', 1)[-1].strip()})" for run in runs if run.error), "")
        raise NotTestedError(f"{name} has {why}{error}, and two seeds are the least")
    notes = [f"{name}: {used} of {len(runs)} runs have a number"] * (used < len(runs))
    if diverged := sum(value == math.inf for _, value in found):
        ranks = ", so ranks are tested" * (not claim.two_sided)
        notes.append(f"{name}: {diverged} of {len(runs)} runs diverged{ranks}")
    if never := sum(never_reached(run, word) for run, _ in found):
        notes.append(f"{name}: {never} of {used} runs never got there, and count as one epoch more")
    means = {key: float(np.mean(values)) for key, values in groups.items()}
    return Side(name, word, means, notes)
