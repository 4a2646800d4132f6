"""Compute the interval that answers a claim, and the differences that a study could detect.

A study tests its claims a few times, at numbers of seeds ("looks") that its file fixes. Look k
spends a part a_k of the level after Lan and DeMets (1983), so that the error rate of all looks
together is at most the level. With m comparisons in the study, the interval of look k is

    mean +- t(1 - a_k / (2 m), n - 1) * sd / sqrt(n)

over n differences, one per seed (Bonferroni over comparisons). One interval gives one of four
answers (Lakens 2017, equivalence with two bounds).

Failures. A condition that is better by a few points, and stays at chance in one run of twenty,
looks better in every sample without such a run. So an answer is about runs that train. Failures
that did happen count as chance, and then the answer must be the same in two readings: over all
pairs, and over the pairs in which both runs trained. Otherwise it is "cannot tell". Each answer
comes with its failures and with the upper limit of their share (`failure_limit`).
"""

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.power import TTestPower

LEVEL = 0.05  # error rate of a study, over all its looks and comparisons
POWER = 0.8
MIN_SEEDS = 3  # for an interval
MAX_SEEDS = 1000  # a larger number of seeds is not recommended
SPREAD_CONFIDENCE = 0.9  # of the upper limit of a standard deviation
Sample = NDArray[np.float64]

MORE, LESS = "more", "less"
NO_DIFFERENCE = "no difference that matters"
CANNOT_TELL, NOT_TESTED = "cannot tell", "not tested"
ANSWERS = MORE, LESS, NO_DIFFERENCE, CANNOT_TELL, NOT_TESTED


FAILURE_CONFIDENCE = 0.95  # of the upper limit of a share of runs that do not train


class Interval(NamedTuple):
    """A mean with the limits of its interval; NaN for fewer than two values."""

    mean: float
    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan, math.nan)


def spent(level: float, share: float) -> float:
    """Return the level spent at a look that has `share` of the seeds of the last look.

    Pocock-type spending, level * ln(1 + (e - 1) * share): Lan and DeMets 1983, Biometrika 70.
    """
    return level * math.log(1 + (math.e - 1) * min(1.0, share))


def levels_of_looks(looks: Sequence[int], level: float = LEVEL) -> list[float]:
    """Return the part of `level` that each look spends; the parts add up to `level`.

    Raises:
        ValueError: `looks` is empty, not increasing, or has a look with fewer than three seeds.
    """
    increasing = all(a < b for a, b in itertools.pairwise(looks))
    if not looks or looks[0] < MIN_SEEDS or not increasing:
        raise ValueError(
            f"looks={list(looks)}: write increasing numbers of seeds, at least {MIN_SEEDS}, as in"
            " [5, 10, 20]"
        )
    total = [spent(level, n / looks[-1]) for n in looks]
    return [now - before for before, now in zip([0.0, *total], total, strict=False)]


def t_interval(differences: Sample, level: float, *, variance_factor: float = 0.0) -> Interval:
    """Return the two-sided t interval of the mean, of coverage 1 - level.

    `variance_factor` is added to 1/n; see `interval_for_new_images`.
    """
    n = len(differences)
    if n < 2:
        return Interval(float(differences.mean()) if n else math.nan, math.nan, math.nan)
    mean, sd = float(differences.mean()), float(differences.std(ddof=1))
    half = float(stats.t.ppf(1 - level / 2, n - 1)) * sd * math.sqrt(1 / n + variance_factor)
    return Interval(mean, mean - half, mean + half)


def interval_for_new_images(differences: Sample, level: float, test_share: float) -> Interval:
    """Return the interval of Nadeau and Bengio (2003), which covers new images too.

    Splits of the same images overlap, so that the differences of n splits are correlated. The
    variance of their mean is sd^2 * (1/n + test_share).

    Args:
        differences: One difference per split.
        level: One minus the coverage.
        test_share: Number of test images over number of train images.
    """
    return t_interval(differences, level, variance_factor=test_share)


def has_spread(differences: Sample) -> bool:
    """Return whether the differences are not all equal; equal ones cannot be tested."""
    if len(differences) < 2:
        return False
    scale = max(1.0, float(np.abs(differences).max()))
    return bool(np.ptp(differences) > 1e-9 * scale)


def answer(interval: Interval, margin: float) -> str:
    """Return the answer of an interval at a margin: one of the first four of `ANSWERS`."""
    if -margin < interval.low and interval.high < margin:
        return NO_DIFFERENCE
    if interval.low > 0:
        return MORE
    if interval.high < 0:
        return LESS
    return CANNOT_TELL


def smallest_detectable(sd: float, n: int, level: float) -> float:
    """Return the difference that n seeds detect with a power of 80%, at a two-sided `level`."""
    with warnings.catch_warnings(action="ignore"):
        found = TTestPower().solve_power(
            None, nobs=n, alpha=level, power=POWER, alternative="two-sided"
        )
    return float(np.squeeze(found)) * sd


def upper_limit_of_sd(sd: float, n: int) -> float:
    """Return the one-sided 90% limit of a standard deviation estimated from n values."""
    return sd * math.sqrt((n - 1) / float(stats.chi2.ppf(1 - SPREAD_CONFIDENCE, n - 1)))


def planned_seeds(sd: float, margin: float, level: float) -> int:
    """Return the number of seeds that detects a difference of `margin` with a power of 80%.

    MAX_SEEDS + 1 means more than MAX_SEEDS.
    """
    counts = np.arange(2, MAX_SEEDS + 1)
    with warnings.catch_warnings(action="ignore"):
        power = TTestPower().power(margin / sd, counts, level, alternative="two-sided")
    enough = np.flatnonzero(np.nan_to_num(power, nan=1.0) >= POWER)
    return int(counts[enough[0]]) if len(enough) else MAX_SEEDS + 1


def failure_limit(failed: int, runs: int) -> float:
    """Return the upper limit of the share of runs that do not train (Clopper and Pearson 1934).

    It is one-sided, of 95%: with no failure 1 - 0.05^(1/runs), about 3/runs (the rule of three).
    """
    if failed == runs:
        return 1.0
    return float(stats.beta.ppf(FAILURE_CONFIDENCE, failed + 1, runs - failed))


class Pairs(NamedTuple):
    """The differences of a look, with failures as chance, and whether both runs trained."""

    differences: Sample
    trained: NDArray[np.bool_]


class Look(NamedTuple):
    """The look at which an answer was given, or the last valid look that the seeds reached."""

    number: int  # from 1
    level: float  # of its interval: the part spent, divided by the number of comparisons
    interval: Interval  # of all pairs
    trained: Interval  # of the pairs in which both runs trained
    answer: str


def look_at(
    samples: Sequence[Pairs | None],
    looks: Sequence[int],
    margin: float,
    *,
    comparisons: int,
    level: float = LEVEL,
) -> Look:
    """Return the first look that gives an answer, or else the last valid look.

    An answer must be the same over all pairs and over the pairs in which both runs trained.

    Args:
        samples: The pairs of each look reached so far; None for a look that is not valid.
        looks: The numbers of seeds of all looks.
        margin: The smallest difference that matters.
        comparisons: The number of comparisons in the study.
        level: The error rate of the study.
    """
    result = Look(0, math.nan, UNKNOWN, UNKNOWN, CANNOT_TELL)
    for number, (pairs, part) in enumerate(
        zip(samples, levels_of_looks(looks, level), strict=False), 1
    ):
        if pairs is None:
            continue
        own = part / comparisons
        every = t_interval(pairs.differences, own)
        trained = t_interval(pairs.differences[pairs.trained], own)
        found = answer(every, margin)
        agreed = found if answer(trained, margin) == found else CANNOT_TELL
        result = Look(number, own, every, trained, agreed)
        if agreed != CANNOT_TELL:
            break
    return result
