"""Compute the metrics that a study compares: one number per run, each named by an expression.

| expression | number |
|---|---|
| `test/acc` | value at the best epoch; also `wall_s`, `images_per_s`, `best_epoch`, `params`, ... |
| `last(train/loss)` | value at the last epoch; `min`, `max` and `mean` are over all epochs |
| `epochs_to(val/acc, 0.4)` | first epoch that reaches the value, else one more than there were |
| `epoch_std(val/acc)` | standard deviation of the changes between epochs, in the second half |
| `generalization_gap(acc)` | how much worse test is than train, at the best epoch |

The training loss of a run that diverged is infinite; such a run has no other number.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from alexlab.reporting.formatting import less_is_better
from alexlab.studies.results import Run

OVER_EPOCHS: dict[str, Callable[[Any], Any]] = {
    "last": lambda values: values[-1],
    "mean": np.mean,
    "min": np.min,
    "max": np.max,
}
FUNCTIONS = ["epochs_to", "epoch_std", "generalization_gap", *OVER_EPOCHS]
CALL = re.compile(r"(\w+)\(([^(),\s]+)(?:,\s*([^(),\s]+))?\)")


@dataclass(frozen=True)
class Metric:
    """A parsed expression: `function` is empty for a value at the best epoch."""

    function: str
    name: str
    argument: float | None = None


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
    if (call[3] is not None) != (function == "epochs_to"):
        raise ValueError(
            f"metric={expression}: write it as epochs_to(val/acc, 0.4) or last(val/acc)"
        )
    return Metric(function, call[2], None if call[3] is None else float(call[3]))


def metric_value(run: Run, expression: str) -> float:
    """Return the value of `expression` for `run`; NaN when the run has none.

    Raises:
        ValueError: The expression is not a metric.
    """
    metric = parse_metric(expression)
    function, name = metric.function, metric.name
    if run.diverged:
        return math.inf if name == "train/loss" and function in OVER_EPOCHS else math.nan
    if not function:
        value = run.record.get("metrics", {}).get(name, run.record.get(name))
        return float(value) if isinstance(value, int | float) else math.nan
    if function == "generalization_gap":
        gap = metric_value(run, f"train/{name}") - metric_value(run, f"test/{name}")
        return -gap if less_is_better(name) else gap
    values = np.array(run.history.get(name, []))
    if metric.argument is not None:
        return _epochs_to(values, metric.argument, less=less_is_better(name))
    if function == "epoch_std":
        changes = np.diff(values[len(values) // 2 :])
        return float(np.std(changes, ddof=1)) if len(changes) > 1 else math.nan
    return float(OVER_EPOCHS[function](values)) if len(values) else math.nan


def _epochs_to(values: Any, goal: float, *, less: bool) -> float:
    if not len(values):
        return math.nan
    reached = values <= goal if less else values >= goal
    return float(np.argmax(reached) + 1) if reached.any() else len(values) + 1.0


def never_reached(run: Run, expression: str) -> bool:
    """Return whether `expression` counts epochs to a value that the run never reached."""
    if not expression.startswith("epochs_to("):
        return False
    return metric_value(run, expression) > len(run.history.get("epoch", []))
