"""Compute the metrics that a study compares: one number per run, each named by an expression.

| expression | number |
|---|---|
| `test/acc` | value at the best epoch; also `wall_s`, `images_per_s`, `best_epoch`, `params`, ... |
| `test/acc_last_3` | mean of the test values after the last three epochs: the score of a study |
| `fit/acc` | train images in eval mode, without augmentation, at the best epoch |
| `last(train/loss)` | value at the last epoch; `min`, `max` and `mean` are over all epochs |
| `epochs_to(val/acc, 0.4)` | first epoch that reaches the value, else one more than there were |
| `epoch_std(val/loss, 20)` | variability between epochs, from epoch 20 on (see `epoch_std`) |
| `rise(val/acc)` | slope over the last 20% of the epochs, times their number: the gain |
| `generalization_gap(acc)` | how much worse test is than `fit`, at the best epoch |
| `right_only(test/acc_10_crops, test/acc)` | share of test images that only the first gets right |
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from alexlab.reporting.formatting import less_is_better
from alexlab.studies.per_image import right_only
from alexlab.studies.results import Run

OVER_EPOCHS: dict[str, Callable[[Any], Any]] = {
    "last": lambda values: values[-1],
    "mean": np.mean,
    "min": np.min,
    "max": np.max,
}
WITH_NUMBER = "epochs_to", "epoch_std"
WITH_NAME = "right_only"
FUNCTIONS = [*WITH_NUMBER, WITH_NAME, "rise", "generalization_gap", *OVER_EPOCHS]
CALL = re.compile(r"(\w+)\(([^(),\s]+)(?:,\s*([^(),\s]+))?\)")
LAST_SHARE = 0.2  # of the epochs, for `rise`
MIN_EPOCHS = 5  # for a standard deviation of second differences


@dataclass(frozen=True)
class Metric:
    """A parsed expression: `function` is empty for a value at the best epoch."""

    function: str
    name: str
    argument: float | None = None
    other: str = ""  # the second name of `right_only`


def parse_metric(expression: str) -> Metric:
    """Parse a metric expression.

    Raises:
        ValueError: The expression is not one of the forms above.
    """
    if "(" not in expression and " " not in expression:
        return Metric("", expression)
    call = CALL.fullmatch(expression)
    function = call[1] if call else expression
    if call is None or function not in FUNCTIONS:
        raise ValueError(
            f"metric={expression}: {function!r} is unknown; write a name such as test/acc, or"
            f" FUNCTION(name) with a function from {', '.join(FUNCTIONS)}"
        )
    second = call[3] or ""
    if function == WITH_NAME and second:
        return Metric(function, call[2], other=second)
    if (function in WITH_NUMBER) != bool(re.fullmatch(r"[\d.]+", second)) or (
        second and function not in WITH_NUMBER
    ):
        raise ValueError(
            f"metric={expression}: write it as epochs_to(val/acc, 0.4), epoch_std(val/loss, 20),"
            " right_only(test/acc_10_crops, test/acc) or last(val/acc)"
        )
    return Metric(function, call[2], float(second) if second else None)


def metric_value(run: Run, expression: str) -> float:
    """Return the value of `expression` for `run`; NaN when the run has none.

    Raises:
        ValueError: The expression is not a metric.
    """
    metric = parse_metric(expression)
    known = run.record.get("numbers", {}).get(expression)  # of a run that is read from a runs.csv
    if isinstance(known, int | float):
        return float(known)
    function, name = metric.function, metric.name
    if function == "last" and name.startswith("fit/"):
        function, name = "", f"{name}_last"  # computed at the best and the last epoch only
    if not function:
        value = run.record.get("metrics", {}).get(name, run.record.get(name))
        return float(value) if isinstance(value, int | float) else math.nan
    if function == WITH_NAME:
        return right_only(run.folder, name, metric.other) if run.folder else math.nan
    if function == "generalization_gap":
        gap = metric_value(run, f"fit/{name}") - metric_value(run, f"test/{name}")
        return -gap if less_is_better(name) else gap
    values = np.array(run.history.get(name, []))
    if not len(values):
        return math.nan
    if function == "epochs_to" and metric.argument is not None:
        reached = values <= metric.argument if less_is_better(name) else values >= metric.argument
        return float(np.argmax(reached) + 1) if reached.any() else len(values) + 1.0
    if function == "epoch_std" and metric.argument is not None:
        return epoch_std(values[max(0, int(metric.argument) - 1) :])
    if function == "rise":
        return _rise(values)
    return float(OVER_EPOCHS[function](values))


def epoch_std(values: Any) -> float:
    """Return the standard deviation of the second differences of `values`, over the root of 6.

    Independent noise of standard deviation s has second differences of variance 6 s^2, and a linear
    trend has none, so that this is an estimate of s for any slope.
    """
    if len(values) < MIN_EPOCHS:
        return math.nan
    return float(np.std(np.diff(values, n=2), ddof=1) / math.sqrt(6))


def _rise(values: Any) -> float:
    last = values[-max(2, round(LAST_SHARE * len(values))) :]
    if len(last) < 2:
        return math.nan
    return float(np.polyfit(np.arange(len(last)), last, 1)[0] * len(last))


def chance_value(expression: str, chance: Mapping[str, float], epochs: float) -> float:
    """Return the value of a metric for a run that learned nothing; NaN if it is unknown.

    `chance` has the values of guessing by metric name, such as `acc` and `loss`.
    """
    metric = parse_metric(expression)
    if metric.function in ("generalization_gap", WITH_NAME):
        return 0.0
    if metric.function == "epochs_to":
        return epochs + 1
    if metric.function in ("epoch_std", "rise"):
        return math.nan
    name = metric.name.split("/")[-1]
    return next((v for key, v in chance.items() if re.fullmatch(rf"{key}(_\w+)?", name)), math.nan)
