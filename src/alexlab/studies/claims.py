"""Read the claims of a study, which are written down before the first run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from alexlab.studies.metrics import parse_metric

KINDS = {
    "greater": "the treatment is more (or less) than the control",
    "extreme": "the treatment is more (or less) than every other condition",
    "equivalent": "treatment and control differ by less than the margin",
    "within": "the treatment is within the margin of a number",
}
ASSERTS, SUGGESTS, ASKS, OURS = SOURCES = "asserts", "suggests", "asks", "ours"
SETTINGS = "tuned", "published"
RATIOS = "epoch_std"  # this metric is compared by ratio: by differences of logarithms


def is_ratio(metric: str) -> bool:
    """Return whether two values of `metric` are compared by their ratio."""
    return parse_metric(metric).function == RATIOS


@dataclass(frozen=True)
class Claim:
    """A claim of a study file; CONTRIBUTING explains each key.

    `treatment` and `control` select runs by values of axes; `control` may be a list for `extreme`.
    `margin` is the smallest difference that matters, in the unit of the metric; for a spread over
    epochs it is a ratio. `untrained` lists the conditions that do not train if the claim is true.
    """

    statement: str
    kind: str
    margin: float
    name: str = ""  # the claim in docs/articles.md is STUDY/name
    source_says: str = OURS
    quote: str = ""  # the original sentence
    quote_name: str = ""  # its name in docs/articles.md
    translation: str = ""
    article: str = ""
    metric: str = ""
    treatment: Mapping[str, Any] = field(default_factory=dict)
    control: Any = None
    treatment_metric: str = ""
    control_metric: str = ""
    target: float | None = None
    direction: str = "more"
    untrained: Sequence[Mapping[str, Any]] = ()
    settings: Sequence[str] = SETTINGS  # at which the claim is tested

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A value is not valid.
        """
        name = f"claim {self.statement!r}"
        if self.kind not in KINDS:
            raise ValueError(f"{name}: kind={self.kind}: unknown; choose from {', '.join(KINDS)}")
        if self.source_says not in SOURCES:
            raise ValueError(
                f"{name}: source_says={self.source_says}: choose from {', '.join(SOURCES)}"
            )
        if not self.metric and not (self.treatment_metric and self.control_metric):
            raise ValueError(f"{name}: metric is missing")
        if self.margin <= self.is_ratio:
            least = "a ratio above 1" if self.is_ratio else "above 0"
            raise ValueError(f"{name}: margin={self.margin}: it must be {least}")
        if (self.kind == "within") != (self.target is not None):
            raise ValueError(f"{name}: target: kind=within needs it, other kinds do not allow it")
        if self.direction not in ("more", "less"):
            raise ValueError(f"{name}: direction={self.direction}: choose from more, less")
        if unknown := [s for s in self.settings if s not in SETTINGS]:
            raise ValueError(f"{name}: settings={unknown[0]}: choose from {', '.join(SETTINGS)}")
        needs_control = self.kind in ("greater", "equivalent")
        if needs_control and self.control is None and not self.control_metric:
            raise ValueError(f"{name}: control is missing; kind={self.kind} needs it")

    @property
    def is_judged(self) -> bool:
        """Return whether an article makes the claim, so that it is supported or contradicted."""
        return self.source_says in (ASSERTS, SUGGESTS)

    @property
    def is_closeness(self) -> bool:
        """Return whether the claim is that two numbers are close to each other."""
        return self.kind in ("equivalent", "within")

    @property
    def is_of_same_runs(self) -> bool:
        """Return whether two metrics of the same runs are compared."""
        return self.control is None and bool(self.control_metric)

    @property
    def is_ratio(self) -> bool:
        """Return whether the treatment and the control are compared by their ratio."""
        return all(map(is_ratio, self.metrics))

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
        ValueError: A claim lacks a key, or has an unknown key or a value that is not valid.
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
