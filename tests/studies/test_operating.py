"""Operating characteristics of the whole procedure, simulated: errors, power, cannot tell."""

import pytest
from scipy import stats

from alexlab.studies import statistics as st
from benchmarks.answers import Spread, cases, is_wrong, simulate

STUDIES = 300  # of three claims: shares have a standard error of 1.7 points at most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sd", "truth", "answer", "percent"),
    [  # an earlier simulation by other code, 1,500 studies a row
        (2.0, 0.0, st.NO_DIFFERENCE, 99),
        (2.0, 1.0, st.MORE, 41),
        (2.0, 1.0, st.NO_DIFFERENCE, 56),
        (2.0, 2.0, st.MORE, 99),
        (3.0, 0.0, st.NO_DIFFERENCE, 80),
        (3.0, 2.0, st.MORE, 91),
        (3.0, 4.0, st.MORE, 100),
        (5.0, 0.0, st.CANNOT_TELL, 97),
        (5.0, 4.0, st.MORE, 98),
    ],
)
def test_shares_of_answers(sd, truth, answer, percent):
    found = simulate(truth, Spread(sd), STUDIES)
    assert 100 * found.answers[answer] / (3 * STUDIES) == pytest.approx(percent, abs=5.5)


@pytest.mark.slow
@pytest.mark.parametrize(("spread", "truth"), cases(), ids=str)
def test_no_more_than_one_study_in_twenty_is_wrong(spread, truth):
    most = stats.binom.ppf(0.999, STUDIES, 0.05) / STUDIES
    assert simulate(truth, spread, STUDIES).wrong_studies <= most


@pytest.mark.slow
def test_no_first_look_shows_a_rare_failure():
    """The better condition fails in 5% of its runs, and both have the same mean over all runs.

    Among 40 seeds no run fails in 0.95^40 = 13% of the claims: at least one of three claims says
    "more" in up to 34% of the studies. That is why an answer is about runs that train.
    """
    for looks, least in (([5, 10, 20, 40], 0.6), ([40], 0.2)):
        found = simulate(3.0, Spread(3.0, 0.05), STUDIES, looks)
        assert found.wrong_for_all_runs > least
        assert found.wrong_studies < 0.05


@pytest.mark.parametrize(
    ("answer", "truth", "wrong"),
    [
        ("more", 0.0, True),
        ("more", 0.1, False),
        ("less", 0.0, True),
        ("less", -0.1, False),
        ("no difference that matters", 2.0, True),
        ("no difference that matters", -2.0, True),
        ("no difference that matters", 1.9, False),
        ("cannot tell", 5.0, False),
    ],
)
def test_what_is_wrong(answer, truth, wrong):
    assert is_wrong(answer, truth, margin=2.0) == wrong
