"""The one rule for printed numbers; every expected text is written by hand."""

import math

import pytest

from alexlab.reporting.formatting import format_metric, is_fraction, less_is_better


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("test/acc", 0.8312, "83.1%"),
        ("acc", 0.15, "15.0%"),
        ("f1", 1.0, "100.0%"),
        ("top5_error", 0.0, "0.0%"),
        ("test/acc_10_crops", 0.5, "50.0%"),
        ("last(val/acc)", 0.5, "50.0%"),
        ("generalization_gap(acc)", 0.021, "2.1 points"),
        ("train/loss", 0.06251, "0.0625"),
        ("loss", 1.23456, "1.23"),
        ("loss", 12.3456, "12.3"),
        ("loss", 0.0, "0.0"),
        ("loss", 1e-9, "0.000000"),
        ("wall_s", 1234.5, "1,234 s"),
        ("images_per_s", 199.6, "200"),
        ("best_epoch", 3.0, "3.0 epochs"),
        ("epochs_to(val/acc, 0.4)", 7.25, "7.2 epochs"),
        ("test/mae", math.nan, "-"),
        ("train/loss", math.inf, "∞"),
    ],
)
def test_a_value(metric, value, text):
    assert format_metric(metric, value) == text


def test_differences_have_a_sign_and_fractions_become_points():
    assert format_metric("test/acc", -0.052, signed=True) == "-5.2 points"
    assert format_metric("test/acc", 0.052, signed=True, unit=False) == "+5.2"
    assert format_metric("train/loss", 0.0021, signed=True, like=0.31) == "+0.002"
    assert format_metric("train/loss", -math.inf, signed=True) == "-∞"


def test_which_metrics_are_fractions_and_which_are_errors():
    fractions = ["acc", "val/f1", "mean(train/acc)", "top1_error", "test/acc_144_crops"]
    assert all(map(is_fraction, fractions))
    assert not any(map(is_fraction, ["loss", "accuracy", "test/mae", "epochs_to(val/acc, 0.4)"]))
    errors = ["train/loss", "rmse", "top5_error", "last(train/loss)", "test/mae_10_crops"]
    assert all(map(less_is_better, errors))
    assert not any(map(less_is_better, ["acc", "last(val/f1)", "spearman"]))
