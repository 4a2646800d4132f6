from math import log

from alexlab.studies.statistics import Interval
from alexlab.studies.wording import describe_interval, seeds


def test_one_seed_is_singular():
    assert [seeds(n) for n in (0, 1, 5)] == ["0 seeds", "1 seed", "5 seeds"]


def test_a_limit_near_zero_has_the_decimals_of_the_largest_number():
    shown = describe_interval("val/loss", Interval(1.25, 0.004, 2.496))
    assert shown == "+1.25 (+0.00 to +2.50)"


def test_a_small_ratio_keeps_two_digits():
    shown = describe_interval("epoch_std(val/loss, 20)", Interval(log(0.0032), log(5e-6), log(2.1)))
    assert shown == "0.0032 times (5e-06 to 2.10)"


def test_a_limit_beside_zero_shows_on_which_side_it_is():
    shown = describe_interval("test/acc", Interval(0.024, 0.00047, 0.048))
    assert shown == "+2.4 points (+0.05 to +4.8)"
    shown = describe_interval("test/acc", Interval(-0.015, -0.031, 0.0))
    assert shown == "-1.5 points (-3.1 to +0.0)"
