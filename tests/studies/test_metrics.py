"""The numbers that claims compare, worked out by hand."""

import math

import pytest

from alexlab.reporting.formatting import format_value
from alexlab.studies.metrics import metric_value, never_reached
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
    ("word", "value"),
    [
        ("test/acc", 0.7),
        ("wall_s", 12.5),
        ("last train/loss", 0.25),
        ("min train/loss", 0.25),
        ("max val/acc", 0.6),
        ("mean train/loss", 5 / 6),
        ("epochs to val/acc 0.5", 3),
        ("epochs to train/loss 0.5", 3),
        ("epochs to val/acc 0.9", 7),
        # of 0.4, 0.6, 0.5 the changes are 0.2 and -0.1: their mean is 0.05, the deviations 0.15
        ("wobble val/acc", math.sqrt(2 * 0.15**2)),
        ("gap acc", 0.2),
        ("gap mae", 0.3),  # an error is worse when it is larger
        ("val/f1", math.nan),
        ("last val/f1", math.nan),
    ],
)
def test_numbers(word, value):
    assert metric_value(RUN, word) == pytest.approx(value, nan_ok=True)


def test_epochs_that_never_came_are_told_apart():
    assert never_reached(RUN, "epochs to val/acc 0.9")
    assert not never_reached(RUN, "epochs to val/acc 0.5")


@pytest.mark.parametrize(
    ("word", "value", "text"),
    [
        ("test/acc", 0.8312, "83.1%"),
        ("gap acc", 0.021, "2.1 points"),
        ("test/acc_10_crops", 0.5, "50.0%"),
        ("train/loss", 0.06251, "0.0625"),
        ("wall_s", 1234.5, "1,234 s"),
        ("test/mae", math.nan, "-"),
    ],
)
def test_how_numbers_are_printed(word, value, text):
    assert format_value(word, value) == text


def test_differences_of_fractions_are_printed_in_points():
    assert format_value("test/acc", -0.052, signed=True) == "-5.2 points"
    assert format_value("train/loss", 0.0021, signed=True, like=0.31) == "+0.002"
