"""The numbers that a study compares, one a run, each asked for by a word or two.

`test/acc` is the value at the best epoch; so are wall_s, images_per_s, best_epoch, params, ...
`last train/loss` is that of the last epoch; `min`, `max` and `mean` are over all epochs.
`epochs to val/acc 0.4` is the first epoch to reach it, or one more than there were.
`wobble val/acc` is the standard deviation of its changes from epoch to epoch, in the second half.
`gap acc` is how much worse test is than train, at the best epoch.
The training loss of a run that diverged is infinite; it has no other number.
"""

import math
import re
from collections.abc import Callable
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


def metric_value(run: Run, word: str) -> float:
    """The number of `run` that `word` asks for; NaN when it has none.

    Raises:
        ValueError: The word makes no sense.
    """
    how, _, name = word.partition(" ")
    if run.diverged:
        return math.inf if name == "train/loss" and how in OVER_EPOCHS else math.nan
    if not name:
        value = run.record.get("metrics", {}).get(word, run.record.get(word))
        return float(value) if isinstance(value, int | float) else math.nan
    if how == "gap":
        gap = metric_value(run, f"train/{name}") - metric_value(run, f"test/{name}")
        return -gap if less_is_better(name) else gap
    if how == "epochs":
        return _epochs_to(run, word)
    values = np.array(run.history.get(name, []))
    if how == "wobble":
        changes = np.diff(values[len(values) // 2 :])
        return float(np.std(changes, ddof=1)) if len(changes) > 1 else math.nan
    if how not in OVER_EPOCHS:
        known = ", ".join(["epochs to", "wobble", "gap", *OVER_EPOCHS])
        raise ValueError(f"metric {word!r}: {how!r} is unknown; known: {known}")
    return float(OVER_EPOCHS[how](values)) if len(values) else math.nan


def _epochs_to(run: Run, word: str) -> float:
    found = re.fullmatch(r"epochs to (\S+) (\S+)", word)
    if not found:
        raise ValueError(f"metric {word!r}: write it as 'epochs to val/acc 0.4'")
    values = np.array(run.history.get(found[1], []))
    if not len(values):
        return math.nan
    goal = float(found[2])
    reached = values <= goal if less_is_better(found[1]) else values >= goal
    return float(np.argmax(reached) + 1) if reached.any() else len(values) + 1.0


def never_reached(run: Run, word: str) -> bool:
    """Whether `word` asks for epochs to something that the run never reached."""
    return word.startswith("epochs to") and metric_value(run, word) > len(
        run.history.get("epoch", [])
    )
