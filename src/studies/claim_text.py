"""What is said of a claim: its verdict, effect, margin and test, in words."""

import math
from collections.abc import Sequence

from src.studies.claims import KINDS, RANKS
from src.studies.metrics import is_fraction, shown
from src.studies.statistics import MOST_SEEDS
from src.studies.sweep import Sweep
from src.studies.verdicts import Judged


def effect(one: Judged) -> str:
    """The effect with its interval."""
    values, word = [one.effect, one.low, one.high], one.claim.words[0]
    if not math.isfinite(one.effect):
        return "runs diverged"
    if one.claim.kind == "variability":
        mean, low, high = (f"{math.exp(value):.2f}" for value in values)
        return f"{mean} times ({low} to {high})"
    size = max(map(abs, values))
    low, high = (shown(word, v, signed=True, unit=False, like=size) for v in values[1:])
    return f"{shown(word, values[0], signed=True, like=size)} ({low} to {high})"


def claim(index: int, one: Judged, judged: Sequence[Judged], sweep: Sweep) -> str:
    """One claim in full."""
    lines = [f"### {index}. {one.claim.says}"]
    lines += [f"> {one.claim.quote}"] * bool(one.claim.quote)
    verdict = f"**{one.verdict}{' at quick scale' * sweep.quick}**"
    if one.pairs is None:
        return "\n\n".join([*lines, f"{verdict}: {one.why}."])
    family = sum(other.pairs is not None for other in judged)
    method = sweep.about.get("correction", "holm")
    for_all = f", corrected for {family} claims ({method})" * (family > 1 and method != "none")
    ranks = one.pairs.diverged and not one.claim.two_sided
    lines += [
        f"{verdict}: {one.pairs.title}: {effect(one)}, {len(one.pairs.d)} seeds. {margin(one)}",
        f"Test: {RANKS if ranks else KINDS[one.claim.kind]}; p = {p(one.p_confirm)} for confirming,"
        f" {p(one.p_refute)} for refuting{for_all}, at level {sweep.level}.",
    ]
    if one.seeds_needed is not None:
        few = f"about {one.seeds_needed}"
        count = few if one.seeds_needed <= MOST_SEEDS else f"more than {MOST_SEEDS}"
        lines.append(
            f"To decide it would take {count} seeds, if effect and spread stay as they are."
        )
    return "\n\n".join([*lines, *(f"{note[0].upper()}{note[1:]}." for note in one.notes)])


def margin(one: Judged) -> str:
    """The margin in words."""
    word, size = one.claim.words[0], one.claim.margin
    text = f"{100 * size:g} points" if is_fraction(word) else f"{size:g}"
    if one.claim.kind == "variability":
        return f"Asked for: at least {size:g} times."
    if one.claim.kind == "within":
        return f"Asked for: within {text} of {shown(word, one.claim.target or 0.0)}."
    return f"Asked for: {'within' if one.claim.two_sided else 'at least'} {text}."


def p(value: float) -> str:
    """A p-value."""
    return "below 0.0001" if value < 0.0001 else f"{value:.2g}"
