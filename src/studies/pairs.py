"""The differences that a claim is about, one a seed."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from src.studies.claims import Claim
from src.studies.metrics import never_reached, number
from src.studies.statistics import Sample
from src.studies.sweep import SEED, Run, Sweep, same

Side = dict[tuple[str, tuple[str, ...]], float]  # (seed, values of the other axes) -> mean


class NotTestedError(Exception):
    """There is not enough to test a claim with; says what is missing."""


@dataclass(frozen=True)
class Pairs:
    """Differences `d`, one a seed, positive where they go the way of the claim.

    (For a claim that something is near, simply `of` minus `than`.)
    """

    title: str  # what is compared
    d: Sample
    notes: list[str]
    sides: tuple[Sample, Sample] | None = None  # the larger as claimed first, when d is not finite


def comparisons(sweep: Sweep, claim: Claim) -> list[Pairs]:
    """What `claim` compares: one pair of sides, or for `extreme` one for each other cell.

    Raises:
        NotTestedError: A side has fewer than two seeds.
    """
    if claim.kind == "within":
        return [_against_target(sweep, claim)]
    others = [claim.than or {}] if claim.kind != "extreme" else list(_others(sweep, claim))
    if not others:
        raise NotTestedError(f"there is nothing beside {sweep.label(claim.of)} in this sweep")
    if claim.than is None and claim.than_metric:
        others = [claim.of]  # two numbers of the same runs
    return [_against(sweep, claim, than) for than in others]


def _others(sweep: Sweep, claim: Claim) -> Iterator[Mapping[str, Any]]:
    """`than`, or all combinations of values, but its own, of the axes named in `of`."""
    if claim.than is not None:
        yield from [claim.than] if isinstance(claim.than, Mapping) else claim.than
        return
    seen = []
    for run in sweep.runs:
        values = {axis: run.values.get(axis, "") for axis in claim.of}
        if values not in seen and not chosen(run, claim.of):
            seen.append(values)
    yield from seen


def chosen(run: Run, values: Mapping[str, Any]) -> bool:
    """Whether `run` stands at `values` of the axes."""
    return all(same(run.values.get(axis, ""), value) for axis, value in values.items())


def _against(sweep: Sweep, claim: Claim, than: Mapping[str, Any]) -> Pairs:
    of_word, than_word = claim.words
    rest = [axis for axis in sweep.axes if axis not in claim.of and axis not in than]
    of, of_notes = _side(sweep, claim.of, of_word, rest)
    other, than_notes = _side(sweep, than, than_word, rest)
    by_seed = defaultdict(list)
    for key in sorted(of.keys() & other.keys()):  # sums depend on the order, in the last bit
        difference = _difference(claim, of[key], other[key])
        if not math.isnan(difference):
            by_seed[key[0]].append(difference)
    d = np.array([np.mean(by_seed[seed]) for seed in sorted(by_seed)])
    names = sweep.label(claim.of), sweep.label(than)
    if len(d) < 2:
        raise NotTestedError(f"{names[0]} and {names[1]} have {len(d)} seeds in common")
    notes = [*of_notes, *than_notes]
    if len(of) != len(other):
        notes.append(f"{len(of)} numbers against {len(other)}: only seeds that both have count")
    sides = None
    if not np.isfinite(d).all():
        sides = np.array(list(of.values())), np.array(list(other.values()))
        sides = sides[::-1] if _turned(claim) else sides
    return Pairs(_title(claim, *names), d, list(dict.fromkeys(notes)), sides)


def _difference(claim: Claim, of: float, than: float) -> float:
    if claim.kind == "variability":
        return math.log(of) - math.log(than) if of > 0 and than > 0 else math.nan
    return than - of if _turned(claim) else of - than


def _turned(claim: Claim) -> bool:
    return claim.kind == "gap" or (claim.kind == "extreme" and claim.end == "lowest")


def _title(claim: Claim, of: str, than: str) -> str:
    of_word, than_word = claim.words
    if of_word != than_word:
        who = "" if of == "all runs" else f" ({of})" if of == than else f" ({of}; {than})"
        return f"{of_word} minus {than_word}{who}"
    if claim.kind == "variability":
        return f"{of_word}, {of} over {than}"
    pair = f"{than} minus {of}" if _turned(claim) else f"{of} minus {than}"
    return f"{of_word}, {pair}"


def _against_target(sweep: Sweep, claim: Claim) -> Pairs:
    word = claim.words[0]
    of, notes = _side(sweep, claim.of, word, [])
    d = np.array([of[key] for key in sorted(of)]) - (claim.target or 0.0)
    return Pairs(f"{word} of {sweep.label(claim.of)} minus the target", d, notes)


def _side(
    sweep: Sweep, values: Mapping[str, Any], word: str, rest: list[str]
) -> tuple[Side, list[str]]:
    """The mean of `word` for each seed and combination of the axes in `rest`; notes on it.

    Raises:
        NotTestedError: There are fewer than two seeds.
    """
    name = sweep.label(values)
    if unknown := [axis for axis in values if axis not in [*sweep.axes, SEED]]:
        raise NotTestedError(f"{unknown[0]} is no axis of this sweep")
    runs = [run for run in sweep.runs if chosen(run, values)]
    found = [(run, number(run, word)) for run in runs if run.finished or run.diverged]
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
        notes.append(f"{name}: {diverged} of {len(runs)} runs diverged, so ranks are tested")
    if never := sum(never_reached(run, word) for run, _ in found):
        notes.append(f"{name}: {never} of {used} runs never got there, and count as one epoch more")
    return {key: float(np.mean(values)) for key, values in groups.items()}, notes
