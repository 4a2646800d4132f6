"""Write answers.json, and recompute published answers from runs.csv."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexlab.studies.answers import ClaimAnswer, answer_claims
from alexlab.studies.per_image import PerImage
from alexlab.studies.results import Sweep
from alexlab.studies.runs_table import read_runs_table

ANSWERS, RUNS = "answers.json", "runs.csv"
TOLERANCE = 1e-6
NUMBERS = (
    *("effect", "low", "high", "low_new", "high_new", "margin", "level", "n", "look"),
    *("effect_if_trained", "low_if_trained", "high_if_trained", "n_trained"),
    *("not_trained_treatment", "not_trained_control", "planned_seeds"),
)
TEXTS = "claim", "source_says", "answer", "judgement", "setting"
STUDY_KEYS = "claims", "trained", "looks", "level", "converged", "axes", "tune", "chosen"


def claim_facts(one: ClaimAnswer) -> dict[str, Any]:
    """Return a claim with its answer as plain data; the effect of a ratio is a ratio."""
    claim = one.claim
    scale = math.exp if claim.is_ratio else float
    failed = [*(count for count, _ in one.not_trained), None, None]

    def number(value: float) -> float | None:
        return None if math.isnan(value) else float(f"{scale(value):.9g}")

    return {
        "claim": claim.statement,
        "name": claim.name,
        "source_says": claim.source_says,
        "article": claim.article,
        "quote": claim.quote,
        "translation": claim.translation,
        "metric": claim.metrics[0],
        "control_metric": claim.control_metric,
        "target": claim.target,
        "answer": one.answer,
        "judgement": one.judgement,
        "effect": number(one.effect),
        "low": number(one.low),
        "high": number(one.high),
        "low_new": number(one.low_new),
        "high_new": number(one.high_new),
        "n": one.n,
        "effect_if_trained": number(one.if_trained.mean),
        "low_if_trained": number(one.if_trained.low),
        "high_if_trained": number(one.if_trained.high),
        "n_trained": one.n_trained,
        "not_trained_treatment": failed[0],
        "not_trained_control": failed[1],
        "look": one.look,
        "planned_seeds": one.planned_seeds,
        "margin": claim.margin,
        "level": None if math.isnan(one.level) else one.level,
        "setting": one.setting,
        "per_image": _images(one.per_image),
        "reason": one.reason,
        "notes": list(one.notes),
        "compared": list(one.comparison.names) if one.comparison else [],
    }


def _images(found: PerImage | None) -> dict[str, Any] | None:
    if found is None:
        return None
    bootstrap = found.bootstrap._asdict() if found.bootstrap else None
    return {**found._asdict(), "bootstrap": bootstrap}


def facts(sweep: Sweep, answers: Sequence[ClaimAnswer]) -> dict[str, Any]:
    """Return the content of answers.json."""
    return {
        "study": sweep.study,
        "question": sweep.question,
        "setting": sweep.setting,
        "finished": len(sweep.done),
        "planned": len(sweep.runs),
        "seeds": len({run.seed for run in sweep.done}),
        "changed_by_hand": sweep.changed_by_hand,
        "claims": [claim_facts(one) for one in answers],
        "asked": {key: sweep.about[key] for key in STUDY_KEYS if key in sweep.about},
        "run_axes": list(sweep.axes),
        "fingerprint": dict(sweep.facts.get("fingerprint") or {}),
    }


def differences_from_runs(folder: Path) -> list[str]:
    """Recompute the answers in `folder` from its runs.csv; return the differences as texts.

    Raises:
        ValueError: A file cannot be read.
    """
    try:
        written = json.loads((folder / ANSWERS).read_text("utf-8"))
        study, setting, axes = written["asked"], written["setting"], written["run_axes"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / ANSWERS}: cannot be read ({error})") from None
    table = read_runs_table(folder / RUNS, axes)
    found = [claim_facts(one) for one in answer_claims(table, study, setting)]
    if len(found) != len(written["claims"]):
        return [f"{len(written['claims'])} claims are written, {len(found)} are asked"]
    return [
        f"claim {number}, {key}: written {before.get(key)!r}, recomputed {now[key]!r}"
        for number, (before, now) in enumerate(zip(written["claims"], found, strict=True), 1)
        for key in [*TEXTS, *NUMBERS]
        if not _equal(before.get(key), now[key])
    ]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= TOLERANCE * max(1.0, abs(other))
    return bool(one == other)


def check(root: Path) -> int:
    """Recompute the published answers below `root`; print and count the reports that differ.

    Raises:
        FileNotFoundError: There is no answers.json below `root`.
    """
    files = sorted(root.glob(f"**/{ANSWERS}"))
    if not files:
        raise FileNotFoundError(f"{root}: there is no {ANSWERS} below it")
    wrong = 0
    for file in files:
        try:
            found = differences_from_runs(file.parent)
        except (ValueError, OSError) as error:
            found = [str(error)]
        wrong += bool(found)
        print(f"{file.parent}: {'; '.join(found) if found else 'the answers follow from runs.csv'}")
    return wrong
