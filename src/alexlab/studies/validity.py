"""Decide whether a condition trained; a claim is answered only for conditions that did.

A condition trained if at least 80% of its runs ended above chance by the margin of the study,
without a symptom. A run that diverged or stayed at chance counts as chance, not as missing, because
leaving out failures would bias the mean of the condition.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alexlab.reporting.formatting import format_metric, less_is_better
from alexlab.studies.metrics import chance_value, metric_value, parse_metric
from alexlab.studies.results import Run

MIN_SHARE = 0.8  # of the runs of a condition
STALLED = "stalled"  # symptom of a training loss that does not change


@dataclass(frozen=True)
class Gate:
    """The section `trained` of a study file: the value of guessing, and the margin above it.

    `metric` is an accuracy or an error, `chance` its value for guessing: one over the number of
    classes, or the error of guessing the median.
    """

    metric: str
    chance: float
    margin: float

    @property
    def values(self) -> dict[str, float]:
        """Return the values of guessing, by the name of the metric."""
        if less_is_better(self.metric):
            name = parse_metric(self.metric).name.split("/")[-1]
            return {name: self.chance, "loss": self.chance}
        loss = -math.log(self.chance)
        return {"acc": self.chance, "f1": self.chance, "top1_error": 1 - self.chance, "loss": loss}

    @property
    def limit(self) -> float:
        """Return the value of `metric` that a run must reach."""
        sign = -1 if less_is_better(self.metric) else 1
        return self.chance + sign * self.margin

    def above_chance(self, run: Run) -> bool:
        """Return whether a finished run ended above chance by the margin."""
        value = metric_value(run, self.metric)
        return value <= self.limit if less_is_better(self.metric) else value >= self.limit

    def trained(self, run: Run) -> bool:
        """Return whether a run finished above chance, without another symptom than a stalled loss.

        A stalled training loss is no reason against a run, because it may have converged.
        """
        symptoms = [s for s in symptoms_of(run) if not s.startswith(STALLED)]
        return run.finished and self.above_chance(run) and not symptoms

    def describe(self) -> str:
        """Describe the limit."""
        word = "at most" if less_is_better(self.metric) else "at least"
        return f"{self.metric} {word} {format_metric(parse_metric(self.metric).name, self.limit)}"


def read_gate(study: Mapping[str, Any]) -> Gate | None:
    """Read the section `trained` of a study; None for a study without it.

    Raises:
        ValueError: A key is missing, unknown or not valid.
    """
    section = study.get("trained")
    if section is None:
        return None
    keys = {"metric", "chance", "margin"}
    if not isinstance(section, Mapping) or set(section) != keys:
        raise ValueError(f"trained={section}: it needs exactly {', '.join(sorted(keys))}")
    gate = Gate(str(section["metric"]), float(section["chance"]), float(section["margin"]))
    parse_metric(gate.metric)
    if gate.margin <= 0 or gate.chance <= 0:
        raise ValueError(f"trained={section}: chance and margin must be above 0")
    return gate


def symptoms_of(run: Run) -> list[str]:
    """Return the symptoms that a run recorded in metrics.json."""
    return [str(symptom) for symptom in run.record.get("symptoms") or []]


def value_for_claims(run: Run, expression: str, gate: Gate | None) -> float:
    """Return the value of a metric for claims: chance for a run that did not train.

    Costs of finished runs, such as seconds, are always as measured.
    """
    if gate is None or not (run.finished or run.diverged) or gate.trained(run):
        return metric_value(run, expression) if run.finished else math.nan
    epochs = float(run.record.get("epochs") or run.config.get("trainer.max_epochs") or 0)
    value = chance_value(expression, gate.values, epochs)
    if math.isnan(value) and run.finished and "/" not in expression:
        return metric_value(run, expression)
    return value
