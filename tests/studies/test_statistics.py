"""Tests, intervals, corrections and sample sizes against published worked examples."""

import numpy as np
import pytest
from scipy import stats

from alexlab.studies import statistics as st
from benchmarks.verdicts import LEVEL, errors

# Student 1908, as R's `sleep`; t.test(paired = TRUE) of its help page gives t = -4.0621, df = 9,
# p = 0.002833 (two-sided), 95% interval -2.4598858 to -0.7001142
SLEEP_1 = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SLEEP_2 = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])

# The clinic data and results of R's package `equivalence`, tost(eps = 0.6), that statsmodels keeps
CLINIC = np.array(
    [
        [2.84, 2.51, 2.41, 2.95, 3.14, 3.79, 4.14, 3.85, 3.02, 3.45, 5.37, 3.81, 4.19, 3.16, 3.84],
        [2.60, 2.82, 2.18, 3.46, 4.01, 3.04, 3.47, 4.06, 2.91, 3.59, 4.51, 3.16, 3.86, 3.31, 3.02],
        [4.00, 3.26, 4.14, 3.42, 3.25, 4.34, 4.97, 4.31, 3.11, 3.41, 5.02, 4.21, 4.59, 5.30, 4.32],
        [3.76, 3.66, 3.65, 3.60, 3.48, 2.87, 3.24, 3.92, 3.99, 4.21, 4.21, 3.31, 3.61, 2.97, 2.73],
    ]
)  # fmt: skip


def test_paired_t_test_and_interval():
    d = SLEEP_2 - SLEEP_1
    assert st.test_superiority(d, 0.5).p_confirm == pytest.approx(0.002833 / 2, rel=1e-3)
    assert st.interval(d, 0.05) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)


@pytest.mark.parametrize(
    ("pair", "p"), [(CLINIC[:2], 0.003166881489265175), (CLINIC[2:], 0.4412034046017588)]
)
def test_equivalence(pair, p):
    assert st.test_equivalence(pair[0] - pair[1], 0.6).p_confirm == pytest.approx(p, rel=1e-9)
    assert st.test_equivalence(pair[1] - pair[0], 0.6).p_confirm == pytest.approx(p, rel=1e-9)


def test_holm():
    """Of 0.01, 0.04, 0.03, 0.005 at 0.05, Holm rejects the fourth and the first (Wikipedia)."""
    found = st.corrected([0.01, 0.04, 0.03, 0.005], 0.05, "holm")
    assert found == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert st.corrected([0.01, 0.04], 0.05, "none") == [0.01, 0.04]


def test_seeds_needed():
    """An effect of half a standard deviation, one-sided, 5%, power 80%: 27 pairs (G*Power)."""
    d = np.array([-0.5, 1.5, -0.5, 1.5]) * np.sqrt(3 / 4)  # sd 1, after the shift the mean is 0.5
    d += 0.5 - d.mean()
    assert d.std(ddof=1) == pytest.approx(1)
    assert st.seeds_to_confirm_or_refute(d, 0.1, 0.05, two_sided=False) == 27
    assert st.seeds_to_confirm_or_refute(d, 1.0, 0.05, two_sided=False) == 27  # to refute 1.0
    assert st.seeds_to_confirm_or_refute(d, 0.501, 0.05, two_sided=True) > st.MOST_SEEDS


def test_no_spread_at_all():
    same = np.full(3, 0.1)
    assert st.test_superiority(same, 0.05) == st.Evidence(0.0, 1.0, True)
    assert st.test_superiority(same, 0.2) == st.Evidence(0.0, 0.0, False)
    assert (
        st.test_superiority(same, 0.1).p_refute == 1.0
    )  # exactly at the margin: nothing is refuted
    assert st.test_superiority(np.zeros(3), 0.1).p_confirm == 1.0
    assert st.test_equivalence(np.zeros(3), 0.1).p_confirm == 0.0


def test_all_of_takes_the_weakest_to_confirm_and_bonferroni_to_refute():
    parts = [st.Evidence(0.01, 0.9, True), st.Evidence(0.04, 0.02, True)]
    assert st.all_of(parts) == st.Evidence(0.04, 0.04, True)


@pytest.mark.slow
@pytest.mark.parametrize("truth", ["null", "margin"])
@pytest.mark.parametrize("kind", ["greater", "equivalent", "extreme", "variability"])
def test_verdicts_err_no_more_often_than_their_level(kind, truth):
    most = stats.binom.ppf(0.999, 500, LEVEL) / 500
    assert errors(kind, truth, n=5, repeats=500) <= most
