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

from src.studies.run import Run

OVER_EPOCHS: dict[str, Callable[[Any], Any]] = {
    "last": lambda values: values[-1],
    "mean": np.mean,
    "min": np.min,
    "max": np.max,
}
PARTS = {"loss", "mae", "mse", "rmse"}  # of names of metrics of which less is better


def less_is_better(word: str) -> bool:
    """Whether `word` ends in the name of a loss or an error."""
    name = re.split(r"[ /]", word)[-1].split("_")
    return bool(PARTS & set(name)) or "error" in name


def is_fraction(word: str) -> bool:
    """Whether it is printed in percent."""
    return bool(re.search(r"(^|[ /])(acc|f1|top\d_error)(_\w+)?$", word))


def number(run: Run, word: str) -> float:
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
        gap = number(run, f"train/{name}") - number(run, f"test/{name}")
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
    return word.startswith("epochs to") and number(run, word) > len(run.history.get("epoch", []))


def shown(
    word: str, value: float, *, signed: bool = False, unit: bool = True, like: float | None = None
) -> str:
    """`value` as it is printed: fractions in percent, or in points when it is a difference.

    Others with three digits, or with as many decimals as `like` would have.
    """
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "∞"
    sign = "+" if signed else ""
    if is_fraction(word):
        points = signed or word.startswith(("wobble", "gap"))
        return f"{100 * value:{sign}.1f}" + (unit * (" points" if points else "%"))
    if word.startswith("epochs") or word == "best_epoch":
        return f"{value:{sign}.1f}" + (" epochs" if unit else "")
    size = abs(value if like is None else like)
    digits = max(0, 2 - math.floor(math.log10(size))) if size else 1
    text = f"{value:{sign},.{min(digits, 6)}f}"
    return text + (" s" if unit and word.endswith("_s") and "per" not in word else "")
