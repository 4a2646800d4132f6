"""A claim: one sentence of a source, made testable before anything ran."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

PAIRED = "paired over seeds"
KINDS = {  # the test of each, in words
    "greater": f"one-sided t test, {PAIRED}",
    "gap": f"one-sided t test, {PAIRED}",
    "variability": f"one-sided t test of the log of the ratio, {PAIRED}",
    "extreme": f"one-sided t tests against each of the others, {PAIRED}; all must hold",
    "equivalent": f"two one-sided t tests (TOST), {PAIRED}",
    "within": "two one-sided t tests (TOST) over seeds",
}
RANKS = "Mann-Whitney test, one-sided, where a training loss is infinite"


@dataclass(frozen=True)
class Claim:
    """See CONTRIBUTING for what each key means. `of` and `than` choose runs by values of axes.

    `margin` is the smallest effect of interest in the metric's unit; a ratio for variability.
    """

    says: str
    kind: str
    margin: float
    quote: str = ""
    metric: str = ""
    of: Mapping[str, Any] = field(default_factory=dict)
    than: Any = None  # values of axes; for `extreme` also a list of such
    of_metric: str = ""
    than_metric: str = ""
    target: float | None = None
    end: str = "highest"
    needs: str = ""

    def __post_init__(self) -> None:  # noqa: D105
        if self.kind not in KINDS:
            known = ", ".join(KINDS)
            raise ValueError(f"claim {self.says!r}: kind {self.kind!r} is unknown; known: {known}")
        if not self.metric and not (self.of_metric and self.than_metric):
            raise ValueError(f"claim {self.says!r} has no metric")
        if self.margin <= (self.kind == "variability"):
            least = "a ratio above 1" if self.kind == "variability" else "above 0"
            raise ValueError(f"claim {self.says!r}: margin={self.margin} must be {least}")
        if (self.kind == "within") != (self.target is not None):
            raise ValueError(f"claim {self.says!r}: `within` needs a target, the others have none")
        if self.end not in ("highest", "lowest"):
            raise ValueError(f"claim {self.says!r}: end={self.end!r}: highest or lowest")
        if self.kind not in ("within", "extreme") and self.than is None and not self.than_metric:
            raise ValueError(f"claim {self.says!r}: {self.kind} needs `than`")

    @property
    def two_sided(self) -> bool:
        """Whether it says that something is near, not that it is more."""
        return self.kind in ("equivalent", "within")

    @property
    def least(self) -> float:
        """The margin on the scale of differences, which are of logs for variability."""
        return math.log(self.margin) if self.kind == "variability" else self.margin

    @property
    def words(self) -> tuple[str, str]:
        """The metrics of `of` and of `than`."""
        prefix = {"gap": "gap ", "variability": "wobble "}.get(self.kind, "")
        of, than = self.of_metric or self.metric, self.than_metric or self.metric
        return prefix + of.removeprefix(prefix), prefix + than.removeprefix(prefix)


def read_claims(about: Mapping[str, Any]) -> list[Claim]:
    """The claims of a study.

    Raises:
        ValueError: A claim lacks a key, has one too many, or one that makes no sense.
    """
    known = [f.name for f in fields(Claim)]
    claims: Sequence[Mapping[str, Any]] = about.get("claims") or []
    for claim in claims:
        name = claim.get("says", "?")
        if extra := sorted(set(claim) - set(known)):
            raise ValueError(f"claim {name!r}: {extra[0]} is unknown; known: {', '.join(known)}")
        if lacking := sorted({"says", "kind", "margin"} - set(claim)):
            raise ValueError(f"claim {name!r} has no {lacking[0]}")
    return [Claim(**claim) for claim in claims]
