"""Answer claims: confirmed, refuted, inconclusive, or not tested with the reason."""

import math
from dataclasses import dataclass, field, replace

from alexlab.reporting.formatting import format_metric
from alexlab.studies import statistics as st
from alexlab.studies.claims import Claim, read_claims
from alexlab.studies.comparisons import NotTestedError, PairedDifferences, comparisons, is_at
from alexlab.studies.metrics import metric_value
from alexlab.studies.results import Sweep

VERDICTS = "confirmed", "refuted", "inconclusive", "not tested"
CONFIRMED, REFUTED, INCONCLUSIVE, NOT_TESTED = VERDICTS


@dataclass(frozen=True)
class ClaimResult:
    """A claim with its answer. Effects are in the unit of the metric; logarithms for a ratio."""

    claim: Claim
    verdict: str = NOT_TESTED
    why: str = ""  # when not tested
    pairs: PairedDifferences | None = None  # the comparison that decides
    low: float = math.nan
    high: float = math.nan
    p_confirm: float = math.nan  # both corrected
    p_refute: float = math.nan
    seeds_needed: int | None = None  # when inconclusive
    notes: list[str] = field(default_factory=list)

    @property
    def effect(self) -> float:
        """Return the mean difference."""
        return float(self.pairs.differences.mean()) if self.pairs else math.nan


def evaluate_claims(sweep: Sweep) -> list[ClaimResult]:
    """Return the answers to the claims of the study, in its order."""
    fails = control_fails(sweep)
    results: list[ClaimResult] = []
    tested: dict[int, list[PairedDifferences]] = {}
    for index, claim in enumerate(read_claims(sweep.about)):
        try:
            if why := fails or "it needs full scale" * (sweep.quick and claim.min_scale == "full"):
                raise NotTestedError(why)
            tested[index] = comparisons(sweep, claim)
            results.append(ClaimResult(claim))
        except NotTestedError as error:
            results.append(ClaimResult(claim, why=str(error)))
    evidence = [_evidence(results[index].claim, pairs) for index, pairs in tested.items()]
    method = str(sweep.about.get("correction", "holm"))
    confirm = st.corrected([e.p_confirm for e in evidence], sweep.level, method)
    refute = st.corrected([e.p_refute for e in evidence], sweep.level, method)
    for index, found, *p in zip(tested, evidence, confirm, refute, strict=True):
        found = replace(found, p_confirm=p[0], p_refute=p[1])
        claim, pairs = results[index].claim, tested[index]
        results[index] = _verdict(claim, pairs, found, sweep.level, len(tested))
    return results


def _evidence(claim: Claim, pairs: list[PairedDifferences]) -> st.Evidence:
    found = []
    for pair in pairs:
        if claim.two_sided:
            found.append(st.test_equivalence(pair.differences, claim.margin_of_differences))
        elif pair.diverged:
            found.append(st.test_superiority_in_rank(*pair.groups, claim.margin_of_differences))
        else:
            found.append(st.test_superiority(pair.differences, claim.margin_of_differences))
    return st.all_of(found)


def _verdict(
    claim: Claim, pairs: list[PairedDifferences], found: st.Evidence, level: float, family: int
) -> ClaimResult:
    """`found` has corrected p-values; `family` is the number of claims they are corrected for."""
    verdict = INCONCLUSIVE
    if found.p_confirm <= level and found.reaches_margin:
        verdict = CONFIRMED
    elif found.p_refute <= level:
        verdict = REFUTED
    deciding = min(pairs, key=lambda pair: float(pair.differences.mean()))
    low, high = st.interval(deciding.differences, level)
    needed = _seeds_needed(claim, pairs, level / family) if verdict == INCONCLUSIVE else None
    notes = list(dict.fromkeys(note for pair in pairs for note in pair.notes))
    return ClaimResult(
        claim, verdict, "", deciding, low, high, found.p_confirm, found.p_refute, needed, notes
    )


def _seeds_needed(claim: Claim, pairs: list[PairedDifferences], level: float) -> int:
    """Seeds to decide, at the level that the strictest correction would leave."""
    short = (
        []
        if claim.two_sided
        else [pair for pair in pairs if pair.differences.mean() < claim.margin_of_differences]
    )
    level /= len(short and pairs) or 1  # any one of `short` may refute
    counts = [
        st.seeds_to_confirm_or_refute(
            pair.differences, claim.margin_of_differences, level, two_sided=claim.two_sided
        )
        for pair in short or pairs
    ]
    return min(counts) if short else max(counts)


def control_fails(sweep: Sweep) -> str:
    """Return why no claim can be tested; "" when the positive control is good enough."""
    asked = sweep.about.get("positive_control")
    if not asked:
        return ""
    control = asked.get("condition") or {}
    metric, name = asked["metric"], f"the positive control, {sweep.label(control)},"
    values = [metric_value(run, metric) for run in sweep.done if is_at(run, control)]
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return f"{name} has no finished run"
    mean = sum(values) / len(values)
    low, high = asked.get("at_least", -math.inf), asked.get("at_most", math.inf)
    if low <= mean <= high:
        return ""
    limit = (
        f"at least {format_metric(metric, low)}"
        if mean < low
        else f"at most {format_metric(metric, high)}"
    )
    return f"{name} came to {metric} {format_metric(metric, mean)}; {limit} was asked"
