"""Answer the claims of a study from its table of runs.

The answer of a claim is more, less, no difference that matters, cannot tell, or not tested. A claim
that an article asserts or suggests is then supported, contradicted or not supported.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from alexlab.reporting.formatting import format_metric
from alexlab.studies import statistics as st
from alexlab.studies.claims import SETTINGS, Claim, read_claims
from alexlab.studies.comparisons import (
    DOUBLING_GAINED,
    NO_RUN,
    Comparison,
    NotTestedError,
    compare,
    conditions_of,
    converged_margin,
    count_comparisons,
    is_compared,
    mean_rise,
    measured_gain,
    rise_metric,
    trained_though_listed,
    undone_by,
    why_not_valid,
)
from alexlab.studies.metrics import metric_value, parse_metric
from alexlab.studies.per_image import PerImage, compare_images, right_only_of
from alexlab.studies.results import RECIPE, SEED, Sweep, axis_values
from alexlab.studies.runs_table import RunsTable, make_runs_table
from alexlab.studies.setting import planned_looks
from alexlab.studies.validity import Gate, read_gate

ELSEWHERE = "it is tested at"  # the start of the reason why a claim has no answer at a setting
SUPPORTED, CONTRADICTED, NOT_SUPPORTED = "supported", "contradicted", "not supported"


@dataclass(frozen=True)
class ClaimAnswer:
    """A claim with its answer. Effects are treatment minus control; logarithms for a ratio.

    The interval `low` to `high` decides; its coverage is 1 - `level`. `low_new` to `high_new`
    covers new images too (Nadeau and Bengio 2003). `if_trained` is the interval of the `n_trained`
    pairs in which both runs trained; the answer must be the same there.
    """

    claim: Claim
    setting: str
    answer: str = st.NOT_TESTED
    judgement: str = ""
    reason: str = ""
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    low_new: float = math.nan
    high_new: float = math.nan
    n: int = 0
    look: int = 0
    looks: Sequence[int] = ()
    level: float = math.nan
    sd: float = math.nan
    smallest_detectable: float = math.nan
    planned_seeds: int | None = None  # only for "cannot tell"
    if_trained: st.Interval = st.UNKNOWN
    n_trained: int = 0
    not_trained: Sequence[tuple[int, int]] = ()  # (failed, runs) of the treatment, of the control
    undone_by: tuple[float, str] = (math.nan, "")  # see `comparisons.undone_by`
    per_image: PerImage | None = None  # only if the runs have test_predictions.csv
    comparison: Comparison | None = None  # the comparison that decides
    seeds: Sequence[str] = ()  # the seeds of the look
    notes: Sequence[str] = field(default_factory=list)

    @property
    def interval(self) -> st.Interval:
        """Return the interval over all pairs, which decides."""
        return st.Interval(self.effect, self.low, self.high)

    @property
    def is_decided(self) -> bool:
        """Return whether more seeds cannot change the answer."""
        given = self.answer not in (st.CANNOT_TELL, st.NOT_TESTED)
        fixed = DOUBLING_GAINED in self.reason or self.reason.startswith(NO_RUN)
        return given or fixed or (bool(self.looks) and self.look == len(self.looks))


def looks_of(study: Mapping[str, Any], setting: str) -> list[int]:
    """Return the looks of a study at a setting: numbers of seeds at which claims are answered.

    Raises:
        ValueError: The looks are not valid.
    """
    looks = planned_looks(study, setting)
    st.levels_of_looks(looks)
    return looks


def metrics_of(study: Mapping[str, Any], setting: str) -> list[str]:
    """Return the metrics that the answers of a study use at a setting; at `tune` those of all."""
    gate = read_gate(study)
    claims = [
        claim
        for claim in read_claims(study)
        if setting in claim.settings or setting not in SETTINGS
    ]
    claimed = [metric for claim in claims for metric in claim.metrics]
    claimed += [
        m for claim in claims if claim.is_of_same_runs for m in right_only_of(claim.metrics)
    ]
    return [*claimed, *([gate.metric, rise_metric(gate)] if gate else [])]


def table_of(sweep: Sweep, more: Sequence[str] = ()) -> RunsTable:
    """Return the table of runs of a sweep, with `more` metrics besides those of its claims.

    Raises:
        ValueError: The study is not valid, or no run has the metric of its section `trained`.
    """
    gate = read_gate(sweep.about)
    if gate and sweep.done and all(math.isnan(metric_value(r, gate.metric)) for r in sweep.done):
        raise ValueError(f"trained: metric={gate.metric}: no run has this metric")
    return make_runs_table(sweep, [*metrics_of(sweep.about, sweep.setting), *more], gate)


def answer_claims(table: RunsTable, study: Mapping[str, Any], setting: str) -> list[ClaimAnswer]:
    """Return the answers to the claims of a study, in its order.

    Raises:
        ValueError: The study is not valid.
    """
    claims = read_claims(study)
    here = [claim for claim in claims if setting in claim.settings]
    count = count_comparisons(table, here) if here else 1
    return [_answer(table, study, claim, setting, count) for claim in claims]


def _answer(
    table: RunsTable, study: Mapping[str, Any], claim: Claim, setting: str, count: int
) -> ClaimAnswer:
    if setting not in claim.settings:
        where = " and ".join(claim.settings)
        return ClaimAnswer(claim, setting, reason=f"{ELSEWHERE} {where} only")
    try:
        comparisons = list(compare(table, claim))
        parts = [
            _answer_comparison(table, study, claim, setting, count, one) for one in comparisons
        ]
    except NotTestedError as error:
        return ClaimAnswer(claim, setting, reason=str(error))
    found = _combined(claim, parts)
    if setting == "tuned" and (why := _why_not_tuned(study, comparisons)):
        return replace(
            found, answer=st.NOT_TESTED, judgement="", reason=why, low=math.nan, high=math.nan
        )
    return found


def _why_not_tuned(study: Mapping[str, Any], comparisons: Sequence[Comparison]) -> str:
    """Return which rates of these conditions were not chosen by scale=tune; "" if none."""
    if not study.get("tune"):
        return ""
    if not (chosen := study.get("chosen")):
        return "its rates have not been tuned (scale=tune)"
    if chosen.get("settings"):  # of all runs
        return ""
    runs = [group for comparison in comparisons for group in comparison.groups]
    recipes = dict.fromkeys(name for group in runs if RECIPE in group for name in group[RECIPE])
    missing = [name for name in recipes if name not in (chosen.get("recipes") or {})]
    if not missing:
        return ""
    return f"the rate of {' and '.join(missing)} has not been tuned (scale=tune)"


def _answer_comparison(
    table: RunsTable,
    study: Mapping[str, Any],
    claim: Claim,
    setting: str,
    count: int,
    comparison: Comparison,
) -> ClaimAnswer:
    looks, gate = looks_of(study, setting), read_gate(study)
    level = float(study.get("level", st.LEVEL))
    planned, by_hand = _planned_seeds(table, study)
    reached = [planned[:n] for n in looks if n <= len(planned)]
    reached = [seeds for seeds in reached if comparison.has_ended(seeds)]
    converged = (study.get("converged") or {}) if setting == "tuned" else None
    reasons = [why_not_valid(table, claim, comparison, s, gate, converged) for s in reached]
    samples = [
        None if why else comparison.pairs(seeds)
        for seeds, why in zip(reached, reasons, strict=True)
    ]
    for index, pairs in enumerate(samples):
        if pairs is not None and not st.has_spread(pairs.differences):
            samples[index] = None
            count_of_pairs = len(pairs.differences)
            reasons[index] = f"there is no spread: all {count_of_pairs} differences are equal"
    margin = claim.margin_of_differences
    look = st.look_at(samples, looks, margin, comparisons=count, level=level)
    notes = [f"seeds {', '.join(by_hand)} are not in the study file: not used"] * bool(by_hand)
    base = ClaimAnswer(claim, setting, looks=looks, comparison=comparison, notes=notes)
    if not look.number or (reasons[-1] and look.answer == st.CANNOT_TELL):
        return _untested(base, comparison, planned, reached, reasons)
    seeds = reached[look.number - 1]
    extra = sum(comparison.has_ended([seed]) for seed in planned[len(seeds) :])
    if extra and look.answer == st.CANNOT_TELL:
        notes.append(f"{extra} more seeds have ended, for the next look")
    notes += _notes(table, claim, comparison, seeds, gate, setting, converged or {})
    notes += _notes_on_failures(claim, comparison, look, seeds, planned)
    found = _tested(replace(base, seeds=seeds), comparison, look, table, count, level)
    if gate is None:
        return found
    failed = comparison.not_trained(seeds)
    unseen = not any(count for count, _ in failed)
    return replace(
        found,
        not_trained=failed,
        undone_by=undone_by(claim, comparison, seeds, look, gate) if unseen else found.undone_by,
    )


def _untested(
    base: ClaimAnswer,
    comparison: Comparison,
    planned: Sequence[str],
    reached: Sequence[Sequence[str]],
    reasons: Sequence[str],
) -> ClaimAnswer:
    ended = [seed for seed in planned if comparison.has_ended([seed])]
    if reasons:
        reason, seeds = reasons[-1], reached[-1]
    else:
        first = sum(seed in ended for seed in planned[: base.looks[0]])
        reason = f"{first} of the {base.looks[0]} seeds of the first look have ended"
        seeds = ended
    values = comparison.differences(seeds)
    effect = float(values.mean()) if len(values) else math.nan
    return replace(
        base, reason=reason, effect=effect, n=len(values), look=len(reached), seeds=seeds
    )


def _tested(
    base: ClaimAnswer,
    comparison: Comparison,
    look: st.Look,
    table: RunsTable,
    count: int,
    level: float,
) -> ClaimAnswer:
    claim, seeds = base.claim, base.seeds
    values = comparison.differences(seeds)
    sd, n = float(values.std(ddof=1)), len(values)
    images = table.frame[["test_images", "train_images"]].mean()
    share = float(images["test_images"] / images["train_images"])
    new = st.interval_for_new_images(values, look.level, share)
    margin = claim.margin_of_differences
    final = st.levels_of_looks(base.looks, level)[-1] / count
    planned = st.planned_seeds(st.upper_limit_of_sd(sd, n), margin, final)
    trained = trained_though_listed(table, claim, comparison, seeds)
    return replace(
        base,
        answer=look.answer,
        judgement=CONTRADICTED if trained else judge(claim, look),
        reason=trained,
        effect=look.interval.mean,
        low=look.interval.low,
        high=look.interval.high,
        low_new=new.low,
        high_new=new.high,
        n=n,
        look=look.number,
        level=look.level,
        sd=sd,
        smallest_detectable=st.smallest_detectable(sd, n, look.level),
        planned_seeds=planned if look.answer == st.CANNOT_TELL else None,
        if_trained=look.trained,
        n_trained=int(comparison.pairs(seeds).trained.sum()),
    )


def judge(claim: Claim, look: st.Look) -> str:
    """Return supported, contradicted or not supported; "" without an answer or for our own claims.

    A claim of closeness is contradicted only if both intervals lie outside the margin.
    """
    if not claim.is_judged or look.answer in (st.CANNOT_TELL, st.NOT_TESTED):
        return ""
    margin = claim.margin_of_differences
    if claim.is_closeness:
        readings = look.interval, look.trained
        outside = all(i.low >= margin for i in readings) or all(i.high <= -margin for i in readings)
        close = look.answer == st.NO_DIFFERENCE
        return SUPPORTED if close else CONTRADICTED if outside else NOT_SUPPORTED
    if look.answer == st.NO_DIFFERENCE:
        return NOT_SUPPORTED
    return SUPPORTED if look.answer == claim.direction else CONTRADICTED


def _combined(claim: Claim, parts: Sequence[ClaimAnswer]) -> ClaimAnswer:
    """Return the answer that decides: for `extreme`, the answer least in favour of the claim."""
    opposite = st.LESS if claim.direction == st.MORE else st.MORE
    order = [opposite, st.NOT_TESTED, st.CANNOT_TELL, st.NO_DIFFERENCE, claim.direction]
    if claim.is_closeness or len(parts) == 1:
        return parts[0]
    sign = 1 if claim.direction == st.MORE else -1
    return min(parts, key=lambda p: (order.index(p.answer), sign * p.effect))


def _planned_seeds(table: RunsTable, study: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the seeds of the study file in order, and the seeds that were added by hand."""
    listed = axis_values((study.get("axes") or {}).get(SEED, ""))
    if not listed:
        return table.seeds, []
    return listed, [seed for seed in table.seeds if seed not in listed]


def _notes(
    table: RunsTable,
    claim: Claim,
    comparison: Comparison,
    seeds: Sequence[str],
    gate: Gate | None,
    setting: str,
    converged: Mapping[str, float],
) -> list[str]:
    notes = []
    if (missing := len(seeds) - len(comparison.differences(seeds))) > 0:
        notes.append(f"{missing} of {len(seeds)} seeds have no number in one of the conditions")
    for name, values, runs in conditions_of(table, comparison, seeds) if gate else []:
        if gate and setting == "published" and runs["trained"].any():
            rise = mean_rise(runs, gate)
            if rise >= converged_margin(claim, gate):
                shown = format_metric(parse_metric(gate.metric).name, rise, signed=True)
                notes.append(
                    f"{name} was still improving, by {shown} over the last 20% of the epochs: the"
                    " article's number of epochs is too small"
                )
        loss = -(measured_gain(converged, name, values) or 0.0)
        if gate and loss >= converged_margin(claim, gate):
            metric = parse_metric(gate.metric).name
            shown = format_metric(metric, loss, signed=True).lstrip("+")
            notes.append(
                f"twice the epochs cost {name} {shown} in {metric}: the answer is about this number"
                " of epochs"
            )
    return notes


def _notes_on_failures(
    claim: Claim,
    comparison: Comparison,
    look: st.Look,
    seeds: Sequence[str],
    planned: Sequence[str],
) -> list[str]:
    """Return notes on a disagreement of the two readings, and on failures after the look."""
    notes, margin = [], claim.margin_of_differences
    readings = [st.answer(interval, margin) for interval in (look.interval, look.trained)]
    if readings[0] != readings[1]:
        notes.append(
            f"the two readings disagree: with failures as chance {readings[0]}, among the pairs"
            f" in which both runs trained {readings[1]}"
        )
    ended = [seed for seed in planned if comparison.has_ended([seed])]
    before, now = comparison.not_trained(seeds), comparison.not_trained(ended)
    if [failed for failed, _ in now] != [failed for failed, _ in before]:
        counts = [
            f"{failed} of {runs} runs with {name}"
            for (failed, runs), name in zip(now, comparison.names, strict=False)
        ]
        said = " and ".join(dict.fromkeys(counts))
        notes.append(f"with the seeds after this look, {said} did not train")
    return notes


def with_images(one: ClaimAnswer, sweep: Sweep) -> ClaimAnswer:
    """Add the image-by-image comparison to a claim about two accuracies of the same runs."""
    if not one.claim.is_of_same_runs or one.comparison is None:
        return one
    runs = one.comparison.groups[0]
    runs = runs[runs[SEED].isin(one.seeds) & runs["trained"] & (runs["state"] == "finished")]
    places = {run.number: run.folder for run in sweep.runs}
    folders = [folder for trial in runs["trial"] if (folder := places[int(trial)]) is not None]
    return replace(one, per_image=compare_images(runs, folders, one.claim.metrics))


def needs_seeds(answers: Sequence[ClaimAnswer]) -> Callable[[Mapping[str, str]], bool] | None:
    """Return which runs can change an answer to a claim that is tested at this setting, if any.

    Returns:
        None if no answer can change. Otherwise a function(values of a run's axes) -> whether the
        run is of a claim that is open, or of no claim.
    """
    here = [one for one in answers if one.setting in one.claim.settings]
    open_claims = [one.claim for one in here if not one.is_decided]
    if not open_claims:
        return None
    closed = [one.claim for one in here if one.is_decided]
    return lambda values: (
        any(is_compared(values, claim) for claim in open_claims)
        or not any(is_compared(values, claim) for claim in closed)
    )
