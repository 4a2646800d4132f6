"""Read the claims of a study: statements made testable before anything ran."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from alexlab.studies.metrics import parse_metric

PAIRED = "paired by seed"
KINDS = {  # the test of each, in words
    "greater": f"one-sided t test, {PAIRED}",
    "extreme": f"one-sided t tests against each of the others, {PAIRED}; all must hold",
    "equivalent": f"two one-sided t tests (TOST), {PAIRED}",
    "within": "two one-sided t tests (TOST) over seeds",
}
RANKS = "Mann-Whitney test, one-sided, where a training loss is infinite"
RATIOS = "epoch_std"  # spreads are compared as ratios: the differences are those of logarithms


@dataclass(frozen=True)
class Claim:
    """A claim of a study file; CONTRIBUTING explains each key.

    `treatment` and `control` select runs by values of axes; `control` may be a list for `extreme`.
    `margin` is the smallest difference that matters, in the unit of the metric; for a spread over
    epochs it is a ratio.
    """

    statement: str
    kind: str
    margin: float
    quote: str = ""
    metric: str = ""
    treatment: Mapping[str, Any] = field(default_factory=dict)
    control: Any = None
    treatment_metric: str = ""
    control_metric: str = ""
    target: float | None = None
    direction: str = "more"
    min_scale: str = ""

    def __post_init__(self) -> None:  # noqa: D105
        name = f"claim {self.statement!r}"
        if self.kind not in KINDS:
            raise ValueError(f"{name}: kind={self.kind}: unknown; choose from {', '.join(KINDS)}")
        if not self.metric and not (self.treatment_metric and self.control_metric):
            raise ValueError(f"{name}: metric is missing")
        if self.margin <= self.is_ratio:
            least = "a ratio above 1" if self.is_ratio else "above 0"
            raise ValueError(f"{name}: margin={self.margin}: it must be {least}")
        if (self.kind == "within") != (self.target is not None):
            raise ValueError(f"{name}: target: `within` needs it, the other kinds have none")
        if self.direction not in ("more", "less"):
            raise ValueError(f"{name}: direction={self.direction}: choose from more, less")
        needs_control = self.kind in ("greater", "equivalent")
        if needs_control and self.control is None and not self.control_metric:
            raise ValueError(f"{name}: control: {self.kind} needs it")

    @property
    def two_sided(self) -> bool:
        """Return whether the claim is that two numbers are close, not that one is larger."""
        return self.kind in ("equivalent", "within")

    @property
    def is_ratio(self) -> bool:
        """Return whether the treatment and the control are compared by their ratio."""
        return all(parse_metric(metric).function == RATIOS for metric in self.metrics)

    @property
    def margin_of_differences(self) -> float:
        """Return the margin on the scale of the differences (logarithms for a ratio)."""
        return math.log(self.margin) if self.is_ratio else self.margin

    @property
    def metrics(self) -> tuple[str, str]:
        """Return the metrics of the treatment and of the control."""
        return self.treatment_metric or self.metric, self.control_metric or self.metric


def read_claims(study: Mapping[str, Any]) -> list[Claim]:
    """Read the claims of a study.

    Raises:
        ValueError: A claim lacks a key, has an unknown key, or a value that makes no sense.
    """
    known = [f.name for f in fields(Claim)]
    claims: Sequence[Mapping[str, Any]] = study.get("claims") or []
    for claim in claims:
        name = f"claim {claim.get('statement', '?')!r}"
        if extra := sorted(set(claim) - set(known)):
            raise ValueError(f"{name}: {extra[0]} is unknown; choose from {', '.join(known)}")
        if missing := sorted({"statement", "kind", "margin"} - set(claim)):
            raise ValueError(f"{name}: {missing[0]} is missing")
    return [Claim(**claim) for claim in claims]
