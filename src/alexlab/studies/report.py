"""Write the report of a sweep in Markdown, from its folder alone: no clock, no machine."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alexlab.reporting import markdown
from alexlab.reporting.formatting import format_metric, is_fraction
from alexlab.studies import tables
from alexlab.studies.claims import KINDS, RANKS
from alexlab.studies.conditions import Condition, not_run
from alexlab.studies.plots import best_trials
from alexlab.studies.results import Sweep
from alexlab.studies.statistics import MOST_SEEDS
from alexlab.studies.verdicts import VERDICTS, ClaimResult


def effect(one: ClaimResult) -> str:
    """Format the effect with its interval."""
    values, metric = [one.effect, one.low, one.high], one.claim.metrics[0]
    if not math.isfinite(one.effect):
        return "runs diverged"
    if one.claim.is_ratio:
        mean, low, high = (f"{math.exp(value):.2f}" for value in values)
        return f"{mean} times ({low} to {high})"
    size = max(map(abs, values))
    low, high = (format_metric(metric, v, signed=True, unit=False, like=size) for v in values[1:])
    return f"{format_metric(metric, values[0], signed=True, like=size)} ({low} to {high})"


def claim(index: int, one: ClaimResult, answers: Sequence[ClaimResult], sweep: Sweep) -> str:
    """Write one claim in full."""
    lines = [f"### {index}. {one.claim.statement}"]
    lines += [f"> {one.claim.quote}"] * bool(one.claim.quote)
    verdict = f"**{one.verdict}{' at quick scale' * sweep.quick}**"
    if one.pairs is None:
        return "\n\n".join([*lines, f"{verdict}: {one.why}."])
    family = sum(other.pairs is not None for other in answers)
    method = sweep.about.get("correction", "holm")
    for_all = f", corrected for {family} claims ({method})" * (family > 1 and method != "none")
    ranks = one.pairs.diverged and not one.claim.two_sided
    lines += [
        f"{verdict}: {one.pairs.title}: {effect(one)}, {len(one.pairs.differences)} seeds."
        f" {margin(one)}",
        f"Test: {RANKS if ranks else KINDS[one.claim.kind]}; p = {p(one.p_confirm)} for confirming,"
        f" {p(one.p_refute)} for refuting{for_all}, at level {sweep.level}.",
    ]
    if one.seeds_needed is not None:
        few = f"about {one.seeds_needed}"
        count = few if one.seeds_needed <= MOST_SEEDS else f"more than {MOST_SEEDS}"
        lines.append(
            f"To decide it would take {count} seeds, if effect and spread stay as they are."
        )
    return "\n\n".join([*lines, *(f"{note[0].upper()}{note[1:]}." for note in one.notes)])


def margin(one: ClaimResult) -> str:
    """Describe the margin."""
    metric, size = one.claim.metrics[0], one.claim.margin
    text = f"{100 * size:g} points" if is_fraction(metric) else f"{size:g}"
    if one.claim.is_ratio:
        return f"Asked for: at least {size:g} times."
    if one.claim.kind == "within":
        return f"Asked for: within {text} of {format_metric(metric, one.claim.target or 0.0)}."
    return f"Asked for: {'within' if one.claim.two_sided else 'at least'} {text}."


def p(value: float) -> str:
    """Format a p-value."""
    return "below 0.0001" if value < 0.0001 else f"{value:.2g}"


Figures = Mapping[str, Sequence[tuple[str, str]]]  # heading -> (file below plots/, what it shows)
MEANING = (
    "Confirmed: significantly above zero, and at least the margin as measured; refuted:"
    " significantly below the margin. That something is near: confirmed when it is significantly"
    " within the margin, refuted when significantly outside. Inconclusive: neither."
)
ABSOLUTE = re.compile(r"(?<![\w.:/}-])/(?:[^\s/'\"`|,]+/)+(?=[^\s/])")


def portable(text: str) -> str:
    """Remove the folders of absolute paths from `text`: they name a machine."""
    return ABSOLUTE.sub(".../", text)


def report(
    sweep: Sweep, conditions: Sequence[Condition], answers: Sequence[ClaimResult], figures: Figures
) -> str:
    """Write the whole page."""
    sections = {
        "Verdicts": verdicts(answers, sweep) if answers else [],
        "Results": results(sweep, conditions, answers),
        "Learning curves": [],
        "Inside the layers": [],
        "Claims": [claim(i, one, answers, sweep) for i, one in enumerate(answers, 1)],
        "What the intervals cover": [coverage(sweep)],
        "What did not finish": [unfinished(sweep)],
        "How it was run": how(sweep),
    }
    parts = opening(sweep)
    for head, texts in sections.items():
        drawn = [f"![{text}](plots/{file})\n\n*{text}*" for file, text in figures.get(head, [])]
        if texts or drawn:
            parts += [f"## {head}", *texts, *drawn]
    return portable("\n\n".join(parts)) + "\n"


def opening(sweep: Sweep) -> list[str]:
    """Write the question, its source, the data, and the changes at quick scale."""
    done, planned, about = len(sweep.done), len(sweep.runs), sweep.about
    parts = [f"# {sweep.question}" + " (at quick scale)" * sweep.quick]
    for key, metric in (("source", "Source"), ("assumed", "Assumed")):
        if about.get(key):
            parts.append(f"{metric}: {str(about[key]).rstrip('.')}.")
    parts.append(f"{done}{f' of {planned}' * (done < planned)} runs. {data(sweep)}")
    if sweep.quick:
        sets = ", ".join(f"`{key}={value}`" for key, value in about.get("quick", {}).items())
        other = "At full scale the verdicts may be others."
        parts.append(f"Quick scale sets {sets or 'nothing'}. {other}")
    return parts


def data(sweep: Sweep) -> str:
    """Name the data sets with their numbers of images."""
    found: dict[str, list[Mapping[str, int]]] = {}
    for run in sweep.done:
        found.setdefault(str(run.config.get("data.name")), []).append(run.record.get("images", {}))
    words = []
    for name, images in found.items():
        counts = {split: sorted(one.get(split, 0) for one in images) for split in images[0]}
        ranges = {s: f"{n[0]}-{n[-1]}" if n[0] < n[-1] else str(n[0]) for s, n in counts.items()}
        sizes = ", ".join(f"{number} {split}" for split, number in ranges.items())
        words.append(f"{name} ({sizes} images)" if sizes else name)
    return f"Data: {', '.join(words)}." if words else ""


def verdicts(answers: Sequence[ClaimResult], sweep: Sweep) -> list[str]:
    """Summarise the claims with their answers and effects: a sentence and a table."""
    scale = " at quick scale" * sweep.quick
    counts = Counter(one.verdict for one in answers)
    said = ", ".join(f"{counts[v]} {v}" for v in VERDICTS if counts[v])
    rows = [
        [f"{i}. {one.claim.statement}", f"**{one.verdict}{scale}**", one.why or effect(one)]
        for i, one in enumerate(answers, 1)
    ]
    table = markdown.markdown(["claim", "verdict", f"effect ({sweep.confidence} interval)"], rows)
    return [f"Of {len(answers)} claim{'s' * (len(answers) > 1)}: {said}{scale}.", table, MEANING]


def results(
    sweep: Sweep, conditions: Sequence[Condition], answers: Sequence[ClaimResult]
) -> list[str]:
    """Write the tables of conditions, or of the best trials of a search."""
    if sweep.facts.get("search"):
        return ["The best trials:", best_trials(sweep)]
    more = [
        metric for one in answers for metric in one.claim.metrics if metric not in sweep.metrics
    ]
    parts = [
        f"Mean ± standard deviation ({sweep.confidence} interval of the mean) over seeds:",
        tables.results(conditions, sweep.metrics, not_run(sweep)),
    ]
    if more:
        table = tables.results(conditions, list(dict.fromkeys(more)))
        parts += ["What the claims compare besides:", table]
    costs = "What a run took, on average (runs that share a machine slow each other down):"
    return [*parts, costs, tables.costs(conditions)]


def coverage(sweep: Sweep) -> str:
    """Describe what the intervals cover, and what they do not."""
    if sweep.facts.get("search"):
        return (
            "Nothing: a search is no sample. The best of many trials looks better than it is; run"
            " it over seeds before it is compared."
        )
    moves = len({run.config.get("data.split_seed") for run in sweep.done}) > 1
    also = " and, since `data.split_seed` moves with it, the split into train, val and test"
    fixed = " All runs share one split: of other splits nothing is said."
    return (
        f"Seeds: a seed sets the initial weights, the order of images, dropout and augmentation"
        f"{also * moves}.{fixed * (not moves)} Images are not resampled: what new images would give"
        f" is not covered. Intervals are two-sided t intervals at {sweep.confidence},"
        " each by itself; p-values are corrected. Val and test are of the epoch that was best on"
        " val. Train metrics are means over an epoch in which the net learns, with dropout and"
        " augmentation."
    )


def unfinished(sweep: Sweep) -> str:
    """List the runs that are in no statistic, with the reason."""
    rest = [run for run in sweep.runs if not run.finished]
    if not rest:
        return f"All {len(sweep.runs)} runs finished."
    states = Counter(run.state for run in rest)
    said = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    told = Counter((sweep.label(r.values), r.state, r.error[:300]) for r in rest if r.error)
    rows = [[label, str(n), state, error] for (label, state, error), n in told.items()]
    table = "\n\n" + markdown.markdown(["settings", "runs", "state", "error"], rows)
    return f"{said}, of {len(sweep.runs)}; they are in no statistic.{table * bool(rows)}"


def how(sweep: Sweep) -> list[str]:
    """Write the command that repeats it, the hardware and the settings."""
    records = [run.record for run in sweep.done]
    seconds = sum(float(run.record.get("wall_s", 0)) for run in sweep.runs)
    facts = {
        "commit": _distinct(record.get("git") for record in records),
        "data fingerprint": _distinct(record.get("data_fingerprint") for record in records),
        "versions": _distinct(_pairs(record.get("versions", {})) for record in records),
        "hardware": _distinct(record.get("hardware") for record in records),
        "training time, all runs": f"{seconds / 3600:.2f} h",
    }
    table = markdown.markdown(["", ""], [[key, value] for key, value in facts.items() if value])
    used = {run.values.get("recipe") for run in sweep.runs}
    made = (sweep.about.get("recipes") or {}).items()
    lines = [f"recipe {name}: {_pairs(settings)}" for name, settings in made if name in used]
    for key in sorted({key for run in sweep.done for key in run.config} - {*sweep.axes}):
        values = _distinct(run.config[key] for run in sweep.done if key in run.config)
        lines.append(f"{key}: {values}")
    return [f"```\n{sweep.facts['command']}\n```", table, "```\n" + "\n".join(lines) + "\n```"]


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value not in (None, "")))


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
