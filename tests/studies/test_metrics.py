"""The numbers that claims compare, worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from alexlab.studies.claims import Claim
from alexlab.studies.comparisons import converged_margin
from alexlab.studies.metrics import (
    Metric,
    chance_value,
    epoch_std,
    metric_value,
    parse_metric,
)
from alexlab.studies.results import Run
from alexlab.studies.validity import Gate, value_for_claims

RUN = Run(
    number=0,
    state="finished",
    values={"seed": "0"},
    record={
        "status": "finished",
        "wall_s": 12.5,
        "metrics": {
            "train/acc": 0.6,
            "fit/acc": 0.9,
            "fit/acc_last": 0.95,
            "test/acc": 0.7,
            "test/acc_last_3": 0.68,
            "fit/mae": 0.5,
            "test/mae": 0.8,
        },
    },
    history={
        "epoch": [1, 2, 3, 4, 5, 6],
        "train/loss": [2.0, 1.0, 0.5, 0.5, 0.75, 0.25],
        "val/acc": [0.1, 0.3, 0.5, 0.4, 0.6, 0.5],
        "val/loss": [9.0, 4.0, 1.0, 2.0, 1.0, 2.0, 1.0],
        "val/top5": [0.0] * 11 + [0.1, 0.5],
    },
)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("test/acc", 0.7),
        ("wall_s", 12.5),
        ("last(train/loss)", 0.25),
        ("min(train/loss)", 0.25),
        ("max(val/acc)", 0.6),
        ("mean(train/loss)", 5 / 6),
        ("epochs_to(val/acc, 0.5)", 3),
        ("epochs_to(train/loss, 0.5)", 3),
        ("epochs_to(val/acc,0.9)", 7),
        # 1, 2, 1, 2, 1 has the changes 1, -1, 1, -1 and the second differences -2, 2, -2: their
        # mean is -2/3, the squared deviations are 16/9, 64/9, 16/9, and the variance is 16/3
        ("epoch_std(val/loss, 3)", math.sqrt(16 / 3 / 6)),
        ("epoch_std(val/loss, 4)", math.nan),  # four epochs are too few
        # 20% of 13 epochs are 2.6, so three: a slope of 0.25 per epoch, three times
        ("rise(val/top5)", 0.75),
        ("rise(train/loss)", -1.0),  # -0.5 per epoch over the last two: 20%, but at least two
        ("fit/acc", 0.9),
        ("last(fit/acc)", 0.95),
        ("test/acc_last_3", 0.68),
        ("generalization_gap(acc)", 0.2),  # of fit, not of the train metric with dropout
        ("generalization_gap(mae)", 0.3),  # an error is worse when it is larger
        ("val/f1", math.nan),
        ("last(val/f1)", math.nan),
    ],
)
def test_values(expression, value):
    assert metric_value(RUN, expression) == pytest.approx(value, nan_ok=True)


def test_an_expression_has_a_function_a_name_and_perhaps_an_argument():
    assert parse_metric("test/acc") == Metric("", "test/acc")
    assert parse_metric("epochs_to(val/acc, 0.4)") == Metric("epochs_to", "val/acc", 0.4)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("latest(train/loss)", "'latest' is unknown; write a name such as test/acc"),
        ("last train/loss", "'last train/loss' is unknown"),
        ("last(val/acc", "is unknown"),
        ("epochs_to(val/acc)", r"write it as epochs_to\(val/acc, 0.4\)"),
        ("last(val/acc, 3)", r"write it as epochs_to\(val/acc, 0.4\)"),
        ("epoch_std(val/loss)", r"epoch_std\(val/loss, 20\)"),
        ("epochs_to(val/acc, high)", r"write it as epochs_to"),
    ],
)
def test_an_expression_that_is_no_metric(expression, message):
    with pytest.raises(ValueError, match=message):
        metric_value(RUN, expression)


def test_epochs_that_never_came_are_more_than_there_were():
    epochs = len(RUN.history["epoch"])
    assert metric_value(RUN, "epochs_to(val/acc, 0.9)") > epochs
    assert metric_value(RUN, "epochs_to(val/acc, 0.5)") <= epochs


def test_epoch_std_estimates_the_noise_whatever_the_slope_is():
    noise = np.random.default_rng(0).normal(0.0, 0.1, 20_000)
    assert epoch_std(noise) == pytest.approx(0.1, rel=0.02)
    assert epoch_std(noise - 0.5 * np.arange(20_000)) == pytest.approx(epoch_std(noise))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("test/acc", 0.2),
        ("test/acc_last_3", 0.2),
        ("last(val/f1)", 0.2),
        ("test/top1_error", 0.8),
        ("last(train/loss)", math.log(5)),
        ("fit/loss", math.log(5)),
        ("generalization_gap(acc)", 0.0),
        ("right_only(test/acc_10_crops, test/acc)", 0.0),
        ("epochs_to(val/acc, 0.4)", 25),
        ("rise(val/acc)", math.nan),
        ("epoch_std(val/loss, 3)", math.nan),
        ("wall_s", math.nan),
    ],
)
def test_guessing_among_five_classes(expression, value):
    gate = Gate("last(val/acc)", chance=0.2, margin=0.1)
    assert chance_value(expression, gate.values, 24) == pytest.approx(value, nan_ok=True)


def test_values_of_a_run_that_guesses_follow_its_own_epochs():
    """It was to train for 50 epochs and ended after 6; it took 12.5 s whatever it learnt."""
    gate = Gate("last(val/acc)", chance=0.5, margin=0.1)
    run = replace(RUN, record={**RUN.record, "epochs": 6}, config={"trainer.max_epochs": 50})
    assert value_for_claims(run, "epochs_to(val/acc, 0.4)", gate) == 7
    assert value_for_claims(run, "test/acc", gate) == 0.5
    assert value_for_claims(run, "wall_s", gate) == 12.5
    assert math.isnan(value_for_claims(run, "epoch_std(val/loss, 3)", gate))
    crashed = replace(run, state="failed", error="RuntimeError: disk full")
    assert math.isnan(value_for_claims(crashed, "test/acc", gate))
    diverged = replace(run, state="failed", error="FloatingPointError: nan")
    assert value_for_claims(diverged, "test/acc", gate) == 0.5
    assert math.isnan(value_for_claims(diverged, "wall_s", gate))


@pytest.mark.parametrize(
    ("metric", "chance", "margin", "trained"),
    [
        ("last(val/loss)", 1.2, 0.2, True),  # it ends at 1.0, the limit
        ("last(val/loss)", 1.2, 0.3, False),
        ("last(val/acc)", 0.4, 0.1, True),  # it ends at 0.5, the limit
        ("last(val/acc)", 0.4, 0.11, False),
    ],
)
def test_a_run_trained_if_it_reached_the_limit_from_the_right_side(metric, chance, margin, trained):
    assert Gate(metric, chance, margin).trained(RUN) == trained


@pytest.mark.parametrize(
    ("metric", "gate", "ratio", "margin"),
    [
        ("test/acc", "last(val/acc)", False, 0.05),  # that of the claim
        ("test/mae", "last(val/mae)", False, 0.05),
        ("test/acc", "last(val/mae)", False, 0.3),  # that of the gate, in its unit
        ("wall_s", "last(val/acc)", False, 0.02),
        ("epoch_std(val/acc, 3)", "last(val/acc)", True, 0.02),
        ("epoch_std(val/loss, 3)", "last(val/loss)", True, 0.3),  # 1.05 is a ratio, no loss
    ],
)
def test_a_gain_counts_as_converged_by_a_margin_of_its_own_unit(metric, gate, ratio, margin):
    claim = Claim("?", "greater", 1.05 if ratio else 0.05, metric=metric, control={"act": "tanh"})
    assert claim.is_ratio == ratio
    assert converged_margin(claim, Gate(gate, chance=0.5, margin=0.3)) == pytest.approx(margin)


def test_guessing_the_median_score():
    gate = Gate("last(val/mae)", chance=1.48, margin=0.08)
    assert gate.limit == pytest.approx(1.40)
    assert chance_value("test/mae", gate.values, 24) == 1.48
    assert chance_value("last(train/loss)", gate.values, 24) == 1.48
