"""Intervals, spent levels, answers and sample sizes against published values and sums by hand."""

import math

import numpy as np
import pytest

from alexlab.studies import statistics as st

# Student 1908, as R's `sleep`; t.test(paired = TRUE) of its help page gives the 95% interval
# -2.4598858 to -0.7001142 with df = 9
SLEEP_1 = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SLEEP_2 = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def test_paired_t_interval():
    found = st.t_interval(SLEEP_2 - SLEEP_1, 0.05)
    assert found == pytest.approx((1.58, 0.7001142, 2.4598858), abs=1e-7)


def test_fewer_than_two_differences_have_no_interval():
    assert st.t_interval(np.array([0.3]), 0.05) == pytest.approx((0.3, np.nan, np.nan), nan_ok=True)
    assert math.isnan(st.t_interval(np.array([]), 0.05).mean)


# alpha * ln(1 + (e - 1) * t) of Lan and DeMets 1983 at equal steps. At alpha = 0.025 and five looks
# group-sequential software prints 0.0074, 0.0131, 0.0177, 0.0216, 0.0250 (cumulative).
PUBLISHED = {
    2: [0.0155, 0.0250],
    3: [0.0113, 0.0191, 0.0250],
    4: [0.0089, 0.0155, 0.0207, 0.0250],
    5: [0.0074, 0.0131, 0.0177, 0.0216, 0.0250],
}


@pytest.mark.parametrize("count", PUBLISHED)
def test_levels_spent_at_equal_steps(count):
    levels = st.levels_of_looks([10 * k for k in range(1, count + 1)], 0.025)
    assert np.cumsum(levels) == pytest.approx(PUBLISHED[count], abs=5e-5)


def test_levels_of_the_looks_of_tuned_studies():
    """By hand: 0.05 * ln(1 + 1.718282 * t) for t = 1/8, 1/4, 1/2 and 1."""
    cumulative = [0.0097284, 0.0178687, 0.0310057, 0.05]  # ln 1.214785, 1.429570, 1.859141, e
    assert np.cumsum(st.levels_of_looks([5, 10, 20, 40])) == pytest.approx(cumulative, abs=2e-5)
    assert st.levels_of_looks([5]) == pytest.approx([0.05])


@pytest.mark.parametrize("looks", [[], [2, 5], [5, 5], [10, 5]])
def test_looks_that_make_no_sense(looks):
    with pytest.raises(ValueError, match=r"looks=.*increasing numbers of seeds, at least 3"):
        st.levels_of_looks(looks)


def test_interval_for_new_images():
    """With sd 1, n 4 and a fifth as many test as train images: t(0.975, 3) * sqrt(1/4 + 1/5)."""
    d = np.array([-1.0, 1.0, -1.0, 1.0]) * math.sqrt(3 / 4)
    assert d.std(ddof=1) == pytest.approx(1)
    half = 3.1824463 * math.sqrt(0.45)
    assert st.interval_for_new_images(d, 0.05, 0.2) == pytest.approx((0, -half, half), abs=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.01, 0.01, "no difference that matters"),
        (0.001, 0.019, "no difference that matters"),  # above 0, and too small to matter
        (0.001, 0.03, "more"),
        (0.05, 0.08, "more"),
        (-0.03, -0.001, "less"),
        (-0.01, 0.03, "cannot tell"),
        (-0.02, 0.01, "cannot tell"),  # it touches the margin
        (0.0, 0.03, "cannot tell"),
        (math.nan, math.nan, "cannot tell"),
    ],
)
def test_four_answers(low, high, expected):
    assert st.answer(st.Interval((low + high) / 2, low, high), margin=0.02) == expected


def test_spread():
    assert st.has_spread(np.array([0.1, 0.1 + 1e-6]))
    assert not st.has_spread(np.full(5, 0.1))
    assert not st.has_spread(np.array([0.1]))
    assert not st.has_spread(np.array([0.3, 0.1 + 0.2]))  # they differ by rounding only
    assert not st.has_spread(np.array([1e6, 1e6 + 1e-5]))


def test_planned_seeds():
    """A paired effect of half a standard deviation, two-sided 5%, power 80%: 34 pairs (G*Power)."""
    assert st.planned_seeds(1.0, 0.5, 0.05) == 34
    assert st.planned_seeds(1.0, 0.001, 0.05) == st.MAX_SEEDS + 1
    assert st.smallest_detectable(1.0, 34, 0.05) == pytest.approx(0.4951, abs=1e-3)
    assert st.smallest_detectable(2.0, 34, 0.05) == pytest.approx(2 * 0.4951, abs=2e-3)


def test_upper_limit_of_a_standard_deviation():
    """Of 5 values, chi-square(0.1, 4) is 1.063623 (tables): the limit is sqrt(4 / 1.063623)."""
    assert st.upper_limit_of_sd(1.0, 5) == pytest.approx(1.9392508, abs=1e-5)


@pytest.mark.parametrize(
    ("failed", "runs", "limit"),
    [
        (0, 5, 0.4507),  # 1 - 0.05^(1/5): tables of the rule of three
        (0, 10, 0.2589),
        (0, 20, 0.1391),
        (0, 40, 0.0722),
        (1, 20, 0.2161),  # binom.test(1, 20, alternative = "less") of R
        (4, 4, 1.0),
    ],
)
def test_limit_of_the_share_of_failures(failed, runs, limit):
    assert st.failure_limit(failed, runs) == pytest.approx(limit, abs=6e-5)


def pairs(differences, failed=()):
    trained = np.ones(len(differences), bool)
    trained[list(failed)] = False
    return st.Pairs(np.array(differences, float), trained)


def test_an_answer_once_given_stays():
    """Five differences of 10 +- 1 answer at the first look; the later ones contradict it."""
    values = [9.0, 10.0, 11.0, 10.0, 10.0]
    first, later = pairs(values), pairs([*values, *[-30.0] * 5])
    look = st.look_at([first, later], [5, 10], 2.0, comparisons=1)
    assert (look.number, look.answer, look.interval.mean) == (1, "more", 10.0)
    assert look.level == pytest.approx(0.05 * math.log((1 + math.e) / 2))
    only = st.look_at([first], [5], 2.0, comparisons=1)  # t(0.975, 4) = 2.776445, sd 0.707107
    assert only.interval.low == pytest.approx(10 - 2.776445 * 0.707107 / math.sqrt(5), abs=1e-5)


def test_a_later_look_answers_what_the_first_cannot():
    first, later = pairs([1.0, -1.0, 2.0, -2.0, 0.0]), pairs([1.0, -1.0, 2.0, -2.0, 0.0] * 4)
    look = st.look_at([first, later], [5, 20], 1.5, comparisons=1)
    assert (look.number, look.answer) == (2, "no difference that matters")
    assert st.look_at([first], [5, 20], 1.5, comparisons=1).answer == "cannot tell"


def test_more_comparisons_widen_the_interval():
    d = pairs([1.0, 2.0, 3.0, 4.0, 5.0])
    one = st.look_at([d], [5], 0.1, comparisons=1).interval
    four = st.look_at([d], [5], 0.1, comparisons=4).interval
    # t(0.975, 4) = 2.776445, t(0.99375, 4) = 4.314675 (R: qt)
    assert (four.high - 3) / (one.high - 3) == pytest.approx(4.3147 / 2.7764, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "failed", "expected"),
    [
        ([10, 11, 9, 10, 10], [], "more"),
        # 10 +- 1 where both trained, and one control at chance, 60 points lower: more in both
        ([70, 11, 9, 10, 10, 9, 11, 10, 9, 11], [0], "more"),
        # the treatment failed once: 3.1 on the mean of all runs, anything from -12.7 to 18.9
        ([-59, 11, 9, 10, 10, 9, 11, 10, 9, 11], [0], "cannot tell"),
        # alike where both trained; the control failed twice of ten: more over all pairs
        ([60, 60, 0.1, 0, 0.2, -0.1, 0, 0.1, -0.2, 60, 60, 60], [0, 1, 9, 10, 11], "cannot tell"),
    ],
)
def test_an_answer_is_the_same_over_all_pairs_and_where_both_trained(values, failed, expected):
    look = st.look_at([pairs(values, failed)], [len(values)], 2.0, comparisons=1)
    assert look.answer == expected
    rest = np.delete(np.array(values, float), failed)
    assert look.trained.mean == pytest.approx(rest.mean())
    assert look.interval.mean == pytest.approx(np.mean(values))
