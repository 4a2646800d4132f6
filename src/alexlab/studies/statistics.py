"""Tests, intervals and sample sizes for differences d, one a seed. scipy and statsmodels compute.

Every claim has two p-values, one for confirming and one for refuting it: that neither is small is
an answer too. Equivalence is shown by two one-sided tests (TOST; Schuirmann 1987), "the highest of
all" by an intersection-union test (Berger 1982).
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

MOST_SEEDS = 1000  # beyond which a number of seeds is no advice
POWER = 0.8
Sample = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What differences say: p-values, and whether their mean is large enough for confirming."""

    p_confirm: float
    p_refute: float
    reaches_margin: bool


def p_above(d: Sample, null: float) -> float:
    """One-sided one-sample t test of mean > null. Without any spread, the limit: 0 or 1."""
    if not np.isfinite(d).all():  # runs that diverged: no mean to test
        return 1.0
    excess = d - null
    if np.ptp(d) <= 1e-9 * max(1.0, float(np.abs(d).max())):
        return 0.0 if excess.mean() > 1e-9 else 1.0
    with warnings.catch_warnings(action="ignore"):
        return float(stats.ttest_1samp(d, null, alternative="greater").pvalue)


def p_below(d: Sample, null: float) -> float:
    """Test mean < null in the same way."""
    return p_above(-d, -null)


def test_superiority(d: Sample, margin: float) -> Evidence:
    """Confirmed: mean > 0, and at least `margin` as measured. Refuted: mean < margin."""
    return Evidence(p_above(d, 0.0), p_below(d, margin), bool(d.mean() >= margin))


def test_superiority_in_rank(of: Sample, than: Sample, margin: float) -> Evidence:
    """As `superior`, where some numbers are infinite: by Mann and Whitney's test, not paired."""
    method = "asymptotic" if set(of) & set(than) else "exact"  # ties within a side change nothing
    above = stats.mannwhitneyu(of, than, alternative="greater", method=method).pvalue
    below = stats.mannwhitneyu(of - margin, than, alternative="less", method=method).pvalue
    return Evidence(float(above), float(below), bool(np.median(of) >= np.median(than) + margin))


def test_equivalence(d: Sample, margin: float) -> Evidence:
    """Confirmed: -margin < mean < margin. Refuted: beyond one of them, each at half the level."""
    beyond = min(p_above(d, margin), p_below(d, -margin))
    return Evidence(max(p_above(d, -margin), p_below(d, margin)), min(1.0, 2 * beyond), True)


def all_of(parts: Sequence[Evidence]) -> Evidence:
    """Combine parts: confirmed when each is; refuted when any is (Bonferroni)."""
    return Evidence(
        max(part.p_confirm for part in parts),
        min(1.0, len(parts) * min(part.p_refute for part in parts)),
        all(part.reaches_margin for part in parts),
    )


def interval(d: Sample, level: float) -> tuple[float, float]:
    """Two-sided t interval of the mean, of coverage 1 - level; NaN for fewer than two."""
    if len(d) < 2 or not np.isfinite(d).all():
        return math.nan, math.nan
    half = float(stats.t.ppf(1 - level / 2, len(d) - 1) * stats.sem(d))
    return float(d.mean()) - half, float(d.mean()) + half


def corrected(p: Sequence[float], level: float, method: str) -> list[float]:
    """Correct the p-values of one family."""
    if method == "none" or not p:
        return list(p)
    adjusted: list[float] = multipletests(p, alpha=level, method=method)[1].tolist()
    return adjusted


def seeds_to_confirm_or_refute(d: Sample, margin: float, level: float, *, two_sided: bool) -> int:
    """Seeds for a power of 80%, if effect and spread are as measured; MOST_SEEDS + 1: more.

    Whichever of confirming and refuting the measured mean points to.
    """
    mean, power = float(d.mean()), POWER
    if not np.isfinite(d).all():
        return MOST_SEEDS + 1
    if two_sided:
        distance = abs(abs(mean) - margin)
        inside = abs(mean) < margin
        # within the margin both tests must succeed; beyond it there are two ways to be
        level, power = (level, (1 + POWER) / 2) if inside else (level / 2, POWER)
    else:
        distance = mean if mean >= margin else margin - mean
    spread = float(d.std(ddof=1))
    if not distance or not spread:
        return MOST_SEEDS + 1
    counts = np.arange(2, MOST_SEEDS + 1)
    size = min(distance / spread, 50.0)
    with warnings.catch_warnings(action="ignore"):
        found = TTestPower().power(size, counts, level, alternative="larger")
    good = np.flatnonzero(np.nan_to_num(found, nan=1.0) >= power)
    return int(counts[good[0]]) if len(good) else MOST_SEEDS + 1
