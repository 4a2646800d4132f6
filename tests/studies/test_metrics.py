"""The numbers that claims compare, worked out by hand."""

import math

import pytest

from alexlab.studies.metrics import Metric, metric_value, never_reached, parse_metric
from alexlab.studies.results import Run

RUN = Run(
    number=0,
    state="finished",
    values={"seed": "0"},
    record={
        "status": "finished",
        "wall_s": 12.5,
        "metrics": {"train/acc": 0.9, "test/acc": 0.7, "train/mae": 0.5, "test/mae": 0.8},
    },
    history={
        "epoch": [1, 2, 3, 4, 5, 6],
        "train/loss": [2.0, 1.0, 0.5, 0.5, 0.75, 0.25],
        "val/acc": [0.1, 0.3, 0.5, 0.4, 0.6, 0.5],
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
        # of 0.4, 0.6, 0.5 the changes are 0.2 and -0.1: their mean is 0.05, the deviations 0.15
        ("epoch_std(val/acc)", math.sqrt(2 * 0.15**2)),
        ("generalization_gap(acc)", 0.2),
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
    ],
)
def test_an_expression_that_is_no_metric(expression, message):
    with pytest.raises(ValueError, match=message):
        metric_value(RUN, expression)


def test_epochs_that_never_came_are_told_apart():
    assert never_reached(RUN, "epochs_to(val/acc, 0.9)")
    assert not never_reached(RUN, "epochs_to(val/acc, 0.5)")
