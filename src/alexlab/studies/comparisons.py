"""Compare two groups of runs by differences paired by seed, and check that these are valid."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from alexlab.reporting.formatting import format_metric, is_fraction, less_is_better
from alexlab.studies.claims import Claim
from alexlab.studies.metrics import chance_value, parse_metric
from alexlab.studies.results import ALL_RUNS, RECIPE, SEED, canonical, same
from alexlab.studies.runs_table import ENDED, RunsTable
from alexlab.studies.statistics import LESS, MORE, NO_DIFFERENCE, Look, Pairs, Sample
from alexlab.studies.validity import MIN_SHARE, Gate

DOUBLING_GAINED = "doubling its steps gained"  # in a reason that more seeds cannot change
NO_RUN = "this sweep has no run with"  # the start of the reason if a condition was never run
CONVERGED_MARGIN = 0.02  # gain in val accuracy, for claims in another unit


class NotTestedError(Exception):
    """A claim cannot be tested; the message gives the reason."""


@dataclass(frozen=True)
class Comparison:
    """Treatment against control, or against a target, by seed.

    `values` has one row per seed with the columns treatment, control, difference and trained.
    Differences are treatment minus control, or the logarithm of their ratio. `trained` is True if
    all runs of the seed trained, apart from the conditions that the claim lists as untrained.
    """

    title: str
    names: tuple[str, str]
    values: pd.DataFrame
    groups: tuple[pd.DataFrame, ...]  # the runs of the treatment and of the control

    def differences(self, seeds: Sequence[str]) -> Sample:
        """Return the differences of these seeds, in their order, without missing ones."""
        return self.pairs(seeds).differences

    def pairs(self, seeds: Sequence[str]) -> Pairs:
        """Return the differences of these seeds, and whether both runs of each trained."""
        rows = self.values.loc[[seed for seed in seeds if seed in self.values.index]]
        return Pairs(rows["difference"].to_numpy(float), rows["trained"].to_numpy(bool))

    def not_trained(self, seeds: Sequence[str]) -> list[tuple[int, int]]:
        """Return (runs that did not train, runs) of these seeds, for each group."""
        parts = [own_end(group[group[SEED].isin(seeds)]) for group in self.groups]
        return [(int((~runs["trained"]).sum()), len(runs)) for runs in parts]

    def has_ended(self, seeds: Sequence[str]) -> bool:
        """Return whether all runs of these seeds have ended, in each group."""
        for group in self.groups:
            runs = group[group[SEED].isin(seeds)]
            if runs[SEED].nunique() < len(seeds) or not runs["state"].isin(ENDED).all():
                return False
        return True


def own_end(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that finished or diverged, without those that crashed."""
    return runs[(runs["state"] == "finished") | runs["diverged"]]


def compare(table: RunsTable, claim: Claim) -> list[Comparison]:
    """Return the comparisons of `claim`: one, or for `extreme` one per other condition.

    Raises:
        NotTestedError: The sweep lacks an axis, a condition or a metric of the claim.
    """
    if (table.frame["state"] == "finished").any():
        for metric in claim.metrics:
            if metric in table.frame.columns and table.frame[metric].isna().all():
                raise NotTestedError(f"metric={metric}: no run has this metric")
    if claim.kind == "within":
        return [_against_target(table, claim)]
    controls = _controls(table, claim)
    if not controls:
        raise NotTestedError(f"this sweep has no condition besides {table.name(claim.treatment)}")
    return [_against(table, claim, control) for control in controls]


def is_compared(values: Mapping[str, str], claim: Claim) -> bool:
    """Return whether runs with these `values` of the axes are a treatment or control of `claim`."""
    others = [claim.control] if isinstance(claim.control, Mapping) else claim.control
    if others is None:  # all other conditions, the same runs, or a target
        others = [{}] if claim.kind == "extreme" else []
    return any(
        all(axis in values and same(values[axis], value) for axis, value in group.items())
        for group in (claim.treatment, *others)
    )


def count_comparisons(table: RunsTable, claims: Sequence[Claim]) -> int:
    """Return the number of different comparisons of `claims`; mirrored ones count once."""
    found: set[Any] = set()
    for claim in claims:
        if claim.kind == "within":
            found.add((_key(claim.treatment, claim.metrics[0]), claim.target))
            continue
        try:
            controls = _controls(table, claim)
        except NotTestedError:
            controls = [{}]
        for control in controls:
            pair = zip((claim.treatment, control), claim.metrics, strict=True)
            found.add(frozenset(_key(values, metric) for values, metric in pair))
    return max(1, len(found))


def _key(values: Mapping[str, Any], metric: str) -> tuple[Any, ...]:
    return metric, *sorted((axis, canonical(value)) for axis, value in values.items())


def _controls(table: RunsTable, claim: Claim) -> Sequence[Mapping[str, Any]]:
    """Return the controls: by default the same runs (two metrics), or all other conditions."""
    if claim.control is not None:
        return [claim.control] if isinstance(claim.control, Mapping) else list(claim.control)
    if claim.control_metric:
        return [claim.treatment]
    _runs(table, claim.treatment)
    others = table.frame[list(claim.treatment)].drop_duplicates().to_dict("records")
    return [
        values
        for values in others
        if not all(same(values[axis], value) for axis, value in claim.treatment.items())
    ]


def _runs(table: RunsTable, values: Mapping[str, Any]) -> pd.DataFrame:
    if unknown := [axis for axis in values if axis not in [*table.axes, SEED]]:
        raise NotTestedError(f"{unknown[0]} is not an axis of this sweep")
    runs = table.at(values)
    if not len(runs):
        raise NotTestedError(f"{NO_RUN} {table.name(values)}")
    return runs


def _means(runs: pd.DataFrame, metric: str, keys: Sequence[str]) -> Any:
    if metric not in runs.columns:
        raise NotTestedError(f"runs.csv has no column {metric}")
    return runs.dropna(subset=[metric]).groupby(list(keys))[metric].mean()


def _against_target(table: RunsTable, claim: Claim) -> Comparison:
    runs, metric = _runs(table, claim.treatment), claim.metrics[0]
    values = pd.DataFrame({"treatment": _means(runs, metric, [SEED])})
    values["control"] = float(claim.target or 0.0)
    values["difference"] = values["treatment"] - values["control"]
    values["trained"] = _trained(claim, (runs,), values.index)
    name = table.name(claim.treatment)
    return Comparison(f"{metric} of {name} minus {claim.target:g}", (name, ""), values, (runs,))


def _trained(claim: Claim, groups: Sequence[pd.DataFrame], seeds: pd.Index) -> pd.Series:
    """Return per seed whether all runs trained, apart from conditions that need not train."""
    runs = pd.concat([own_end(group) for group in groups])
    listed = [
        any(_matches(row, condition) for condition in claim.untrained)
        for row in runs.to_dict("records")
    ]
    asked = runs[~np.array(listed, bool)]
    return asked.groupby(SEED)["trained"].all().reindex(seeds, fill_value=True)


def _against(table: RunsTable, claim: Claim, control: Mapping[str, Any]) -> Comparison:
    rest = [axis for axis in table.axes if axis not in claim.treatment and axis not in control]
    groups = _runs(table, claim.treatment), _runs(table, control)
    first, second = (
        _means(runs, metric, [SEED, *rest])
        for runs, metric in zip(groups, claim.metrics, strict=True)
    )
    pairs = pd.DataFrame({"treatment": first, "control": second}).dropna()
    if claim.is_ratio:
        pairs = pairs[(pairs > 0).all(axis=1)]
        pairs["difference"] = np.log(pairs["treatment"]) - np.log(pairs["control"])
    else:
        pairs["difference"] = pairs["treatment"] - pairs["control"]
    names = table.name(claim.treatment), table.name(control)
    metrics = claim.metrics
    if metrics[0] == metrics[1]:
        title = f"{metrics[0]}, {names[0]} {'over' if claim.is_ratio else 'minus'} {names[1]}"
    else:
        title = f"{metrics[0]} minus {metrics[1]}"
        title += f" ({names[0]})" if names[0] != ALL_RUNS else ""
    values = pairs.groupby(level=SEED).mean()
    values["trained"] = _trained(claim, groups, values.index)
    return Comparison(title, names, values, groups)


def why_not_valid(
    table: RunsTable,
    claim: Claim,
    comparison: Comparison,
    seeds: Sequence[str],
    gate: Gate | None,
    converged: Mapping[str, float] | None,
) -> str:
    """Return why these seeds cannot answer; "" if all conditions trained and converged.

    The `untrained` conditions of `claim` are exempt. Without `gate` only the count of numbers is
    checked. `converged` is the gain on val from doubled epochs by condition, measured with tuning
    seeds; None skips the check of convergence.
    """
    count = len(comparison.differences(seeds))
    if count < MIN_SHARE * len(seeds):
        runs = pd.concat(comparison.groups)
        errors = [e for e in runs.loc[runs[SEED].isin(seeds), "error"] if e]
        why = f" ({errors[0].split(':', 1)[-1].strip()})" if errors else ""
        both = "both have" if len(comparison.groups) > 1 else "it has"
        names = " and ".join(dict.fromkeys(filter(None, comparison.names)))
        return f"{names}: {both} a number in only {count} of {len(seeds)} seeds{why}"
    for name, values, runs in conditions_of(table, comparison, seeds):
        if gate is None or any(_matches(values, listed) for listed in claim.untrained):
            continue
        if runs["trained"].mean() < MIN_SHARE:
            return f"{name} {_how_it_failed(runs)}; a run must reach {gate.describe()}"
        if converged is not None:
            gain = measured_gain(converged, name, values)
            if why := _still_rising(name, runs, claim, gate, gain):
                return why
    return ""


def conditions_of(
    table: RunsTable, comparison: Comparison, seeds: Sequence[str]
) -> list[tuple[str, dict[str, Any], pd.DataFrame]]:
    """Return (name, values of the axes, runs that finished or diverged) of each condition."""
    found: dict[str, tuple[str, dict[str, Any], pd.DataFrame]] = {}
    for group in comparison.groups:
        runs = own_end(group[group[SEED].isin(seeds)])
        parts = runs.groupby(table.axes, sort=False) if table.axes else [((), runs)]
        for key, part in parts:
            values = dict(zip(table.axes, key, strict=True))
            name = table.name(values)
            found.setdefault(name, (name, values, part))
    return list(found.values())


def trained_though_listed(
    table: RunsTable, claim: Claim, comparison: Comparison, seeds: Sequence[str]
) -> str:
    """Name a condition that trained although the claim lists it as untrained; "" for none."""
    for name, values, runs in conditions_of(table, comparison, seeds):
        listed = any(_matches(values, condition) for condition in claim.untrained)
        if listed and runs["trained"].mean() >= MIN_SHARE:
            return f"{name} trained in {int(runs['trained'].sum())} of {len(runs)} runs"
    return ""


def undone_by(
    claim: Claim, comparison: Comparison, seeds: Sequence[str], look: Look, gate: Gate | None
) -> tuple[float, str]:
    """Return the share of failures that would change an answer for all runs, and the condition.

    If a share p of the treatment's runs fails, the mean difference moves by p * (chance - mean of
    the treatment); likewise for the control. The answer changes when a limit of its interval passes
    0 or the margin. Return (NaN, "") if no share changes it, or if chance is unknown.
    """
    apart = comparison.groups[0] is not comparison.groups[-1]
    if gate is None or claim.is_ratio or look.answer not in (MORE, LESS, NO_DIFFERENCE):
        return math.nan, ""
    rows = comparison.values.loc[[s for s in seeds if s in comparison.values.index]]
    found = [(math.inf, "")]
    columns = ("treatment", "control")[: len(comparison.groups)] if apart else ()
    for sign, column, metric, name, group in zip(
        (1, -1), columns, claim.metrics, comparison.names, comparison.groups, strict=False
    ):
        chance = chance_value(metric, gate.values, float(group["epochs"].mean()))
        shift = sign * (chance - float(rows[column].mean()))
        most = claim.margin_of_differences
        room = {
            MORE: (look.interval.low, math.inf),
            LESS: (math.inf, -look.interval.high),
            NO_DIFFERENCE: (look.interval.low + most, most - look.interval.high),
        }[look.answer][shift > 0]
        if shift and not math.isnan(shift):
            found.append((room / abs(shift), name))
    share, name = min(found)
    return (share, name) if share < 1 else (math.nan, "")


def _matches(values: Mapping[str, Any], listed: Mapping[str, Any]) -> bool:
    return all(axis in values and same(values[axis], value) for axis, value in listed.items())


def _how_it_failed(runs: pd.DataFrame) -> str:
    bad = runs[~runs["trained"]]
    diverged = int(bad["diverged"].sum())
    symptoms = Counter(s for text in bad["symptoms"] for s in sorted({*text.split("; ")}) if s)
    after = _epochs(bad[~bad["diverged"]])
    stuck = len(bad) - diverged
    parts = [f"ended no better than guessing{after} in {stuck} of {len(runs)} runs"] * bool(stuck)
    parts += [f"diverged in {diverged} of {len(runs)} runs"] * bool(diverged)
    text = " and ".join(parts)
    said = ", ".join(f"{name} in {count}" for name, count in sorted(symptoms.items()))
    return f"{text} (symptoms: {said})" if symptoms else text


def _epochs(runs: pd.DataFrame) -> str:
    """Return " after 24 of 24 epochs", or ranges of epochs; "" if they are unknown."""
    parts = []
    for column in ("epochs", "max_epochs"):
        values = runs[column].dropna()
        ends = [f"{v:.0f}" for v in (values.min(), values.max())] if len(values) else []
        parts += ["-".join(dict.fromkeys(ends))] * bool(ends)
    return f" after {' of '.join(parts)} epochs" if parts else ""


def rise_metric(gate: Gate) -> str:
    """Return the metric expression for the gain of a run on val over its last epochs."""
    return f"rise({parse_metric(gate.metric).name})"


def mean_rise(runs: pd.DataFrame, gate: Gate) -> float:
    """Return the mean gain of runs on val over their last epochs; positive is better."""
    values = runs[rise_metric(gate)].dropna() if rise_metric(gate) in runs.columns else []
    sign = -1 if less_is_better(gate.metric) else 1
    return sign * float(np.mean(values)) if len(values) else 0.0


def converged_margin(claim: Claim, gate: Gate) -> float:
    """Return the least gain on val that is not converged: the claim's margin if units agree."""
    alike = is_fraction(claim.metrics[0]) == is_fraction(gate.metric)
    if alike and not claim.is_ratio:
        return claim.margin
    return CONVERGED_MARGIN if is_fraction(gate.metric) else gate.margin


def measured_gain(
    converged: Mapping[str, float], name: str, values: Mapping[str, Any]
) -> float | None:
    """Return the gain on val from twice the epochs of a condition; None if it was not measured."""
    return converged.get(gain_key(name, values))


def gain_key(name: str, values: Mapping[str, Any]) -> str:
    """Return the key of a condition among the gains: its recipe, or its name if it has more axes.

    A recipe has its own name there, as in study files: `none`, and not "recipe none".
    """
    return str(values[RECIPE]) if set(values) == {RECIPE} else name


def _still_rising(
    name: str, runs: pd.DataFrame, claim: Claim, gate: Gate, measured: float | None
) -> str:
    gain = mean_rise(runs, gate) if measured is None else measured
    if gain < converged_margin(claim, gate):
        return ""
    how = "over the last 20% of its epochs it gained" if measured is None else DOUBLING_GAINED
    metric = parse_metric(gate.metric).name
    return f"{name} had not converged: {how} {format_metric(metric, gain, signed=True)} in {metric}"
