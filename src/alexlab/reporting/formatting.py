"""Format metrics for people: percent, points, seconds, three significant digits."""

import math
import re


def format_metric(name: str, value: float) -> str:
    """A metric as people read it: fractions as percent."""
    is_fraction = name.rsplit("/", 1)[-1] in {"acc", "f1", "top1_error", "top5_error"}
    return f"{100 * value:.1f}%" if is_fraction else f"{value:.4f}"


PARTS = {"loss", "mae", "mse", "rmse"}  # of names of metrics of which less is better


def less_is_better(word: str) -> bool:
    """Whether `word` ends in the name of a loss or an error."""
    name = re.split(r"[ /]", word)[-1].split("_")
    return bool(PARTS & set(name)) or "error" in name


def is_fraction(word: str) -> bool:
    """Whether it is printed in percent."""
    return bool(re.search(r"(^|[ /])(acc|f1|top\d_error)(_\w+)?$", word))


def format_value(
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
