"""Format numbers for people: the one rule that the console, reports and evaluations share.

Fractions are percent with one decimal, and their differences are points. Epochs have one decimal.
Everything else has three significant digits.
"""

import math
import re

ERRORS = {"loss", "mae", "mse", "rmse"}  # parts of names of metrics where less is better
FRACTION = re.compile(r"(^|[ /(])(acc|f1|top\d_error)(_\w+)?\)?$")
DIFFERENCES = ("generalization_gap(", "rise(")  # metrics that are differences themselves


def less_is_better(metric: str) -> bool:
    """Return whether `metric` ends in the name of a loss or an error."""
    words = re.split(r"[ /(]", metric)[-1].rstrip(")").split("_")
    return bool(ERRORS & set(words)) or "error" in words


def is_fraction(metric: str) -> bool:
    """Return whether `metric` is printed in percent."""
    return bool(FRACTION.search(metric))


def is_difference(metric: str) -> bool:
    """Return whether `metric` is a difference itself, so that its unit is points."""
    return metric.startswith(DIFFERENCES)


def format_metric(
    metric: str, value: float, *, signed: bool = False, unit: bool = True, like: float | None = None
) -> str:
    """Format `value` of `metric`: 83.1%, +2.1 points, 0.0625, 1,234 s, 12.0 epochs, - for NaN.

    Args:
        metric: Its name decides the unit.
        value: Any number; an infinite one is ∞.
        signed: Whether it is a difference: it gets a sign, and a fraction becomes points.
        unit: Whether the unit is added; leave it out where a heading has it.
        like: Another number whose count of decimals is used.
    """
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "∞" if value > 0 else "-∞"
    sign = "+" if signed else ""
    if is_fraction(metric):
        points = signed or is_difference(metric)
        return f"{100 * value:{sign}.1f}" + (unit * (" points" if points else "%"))
    if metric.startswith("epochs") or metric == "best_epoch":
        return f"{value:{sign}.1f}" + (" epochs" if unit else "")
    size = abs(value if like is None else like)
    digits = max(0, 2 - math.floor(math.log10(size))) if size else 1
    text = f"{value:{sign},.{min(digits, 6)}f}"
    return text + (" s" if unit and metric.endswith("_s") and "per" not in metric else "")


def format_duration(seconds: float) -> str:
    """Write seconds as a person would: 3.2 s, 45 s, 12 min, 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
