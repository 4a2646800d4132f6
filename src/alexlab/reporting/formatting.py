"""Format numbers in the same way for the console, reports and evaluations.

Fractions are percent with one decimal, and their differences are points. Epochs have one decimal.
Other numbers have three significant digits, all digits before the point, and at most six decimals.
"""

import math
import re

ERRORS = {"loss", "mae", "mse", "rmse"}  # words in the names of metrics where less is better
FRACTION = re.compile(r"(^|[ /(])(acc|f1|top\d_error)(_\w+)?\)?$")
DIFFERENCES = ("generalization_gap(", "rise(")  # functions whose result is a difference


def less_is_better(metric: str) -> bool:
    """Return whether `metric` is a loss or an error, by its name."""
    words = re.split(r"[ /(]", metric)[-1].rstrip(")").split("_")
    return bool(ERRORS & set(words)) or "error" in words


def is_fraction(metric: str) -> bool:
    """Return whether `metric` is printed in percent."""
    return bool(FRACTION.search(metric))


def is_difference(metric: str) -> bool:
    """Return whether `metric` is itself a difference, so that a fraction is shown in points."""
    return metric.startswith(DIFFERENCES)


def format_metric(
    metric: str, value: float, *, signed: bool = False, unit: bool = True, like: float | None = None
) -> str:
    """Format `value` of `metric`: 83.1%, +2.1 points, 0.0625, 1,234 s, 12.0 epochs, - for NaN.

    Args:
        metric: Name of the metric, which decides the unit.
        value: Any number; an infinite one becomes ∞.
        signed: Format a difference: with a sign, and in points for a fraction.
        unit: Add the unit.
        like: Use as many decimals as for this number.
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
    """Format seconds as 3.2 s, 45 s, 12 min or 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
