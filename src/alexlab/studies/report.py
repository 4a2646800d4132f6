"""A sweep's report in Markdown. A pure function of the sweep's folder: no clock, no machine."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alexlab.reporting import markdown
from alexlab.reporting.formatting import format_value, is_fraction
from alexlab.studies import tables
from alexlab.studies.claims import KINDS, RANKS
from alexlab.studies.conditions import Condition, not_run
from alexlab.studies.plots import best_trials
from alexlab.studies.results import Sweep
from alexlab.studies.statistics import MOST_SEEDS
from alexlab.studies.verdicts import VERDICTS, ClaimResult


def effect(one: ClaimResult) -> str:
    """The effect with its interval."""
    values, word = [one.effect, one.low, one.high], one.claim.words[0]
    if not math.isfinite(one.effect):
        return "runs diverged"
    if one.claim.kind == "variability":
        mean, low, high = (f"{math.exp(value):.2f}" for value in values)
        return f"{mean} times ({low} to {high})"
    size = max(map(abs, values))
    low, high = (format_value(word, v, signed=True, unit=False, like=size) for v in values[1:])
    return f"{format_value(word, values[0], signed=True, like=size)} ({low} to {high})"


def claim(index: int, one: ClaimResult, judged: Sequence[ClaimResult], sweep: Sweep) -> str:
    """One claim in full."""
    lines = [f"### {index}. {one.claim.says}"]
    lines += [f"> {one.claim.quote}"] * bool(one.claim.quote)
    verdict = f"**{one.verdict}{' at quick scale' * sweep.quick}**"
    if one.pairs is None:
        return "\n\n".join([*lines, f"{verdict}: {one.why}."])
    family = sum(other.pairs is not None for other in judged)
    method = sweep.about.get("correction", "holm")
    for_all = f", corrected for {family} claims ({method})" * (family > 1 and method != "none")
    ranks = one.pairs.diverged and not one.claim.two_sided
    lines += [
        f"{verdict}: {one.pairs.title}: {effect(one)}, {len(one.pairs.d)} seeds. {margin(one)}",
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
    """The margin in words."""
    word, size = one.claim.words[0], one.claim.margin
    text = f"{100 * size:g} points" if is_fraction(word) else f"{size:g}"
    if one.claim.kind == "variability":
        return f"Asked for: at least {size:g} times."
    if one.claim.kind == "within":
        return f"Asked for: within {text} of {format_value(word, one.claim.target or 0.0)}."
    return f"Asked for: {'within' if one.claim.two_sided else 'at least'} {text}."


def p(value: float) -> str:
    """A p-value."""
    return "below 0.0001" if value < 0.0001 else f"{value:.2g}"


Figures = Mapping[str, Sequence[tuple[str, str]]]  # heading -> (file below plots/, what it shows)
MEANING = (
    "Confirmed: significantly above zero, and at least the margin as measured; refuted:"
    " significantly below the margin. That something is near: confirmed when it is significantly"
    " within the margin, refuted when significantly outside. Inconclusive: neither."
)
ABSOLUTE = re.compile(r"(?<![\w.:/}-])/(?:[^\s/'\"`|,]+/)+(?=[^\s/])")


def portable(text: str) -> str:
    """`text` without the folders of absolute paths: they name a machine."""
    return ABSOLUTE.sub(".../", text)


def report(
    sweep: Sweep, cells: Sequence[Condition], judged: Sequence[ClaimResult], figures: Figures
) -> str:
    """The whole page."""
    sections = {
        "Verdicts": verdicts(judged, sweep) if judged else [],
        "Results": results(sweep, cells, judged),
        "Learning curves": [],
        "Inside the layers": [],
        "Claims": [claim(i, one, judged, sweep) for i, one in enumerate(judged, 1)],
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
    """The question, its source, the data, and what quick scale changes."""
    done, planned, about = len(sweep.done), len(sweep.runs), sweep.about
    parts = [f"# {sweep.question}" + " (at quick scale)" * sweep.quick]
    for key, word in (("source", "Source"), ("notes", "Assumed")):
        if about.get(key):
            parts.append(f"{word}: {str(about[key]).rstrip('.')}.")
    parts.append(f"{done}{f' of {planned}' * (done < planned)} runs. {data(sweep)}")
    if sweep.quick:
        sets = ", ".join(f"`{key}={value}`" for key, value in about.get("quick", {}).items())
        other = "At full scale the verdicts may be others."
        parts.append(f"Quick scale sets {sets or 'nothing'}. {other}")
    return parts


def data(sweep: Sweep) -> str:
    """The data sets and how many images they had."""
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


def verdicts(judged: Sequence[ClaimResult], sweep: Sweep) -> list[str]:
    """The claims with their verdicts and effects: in a sentence, as a table."""
    scale = " at quick scale" * sweep.quick
    counts = Counter(one.verdict for one in judged)
    said = ", ".join(f"{counts[v]} {v}" for v in VERDICTS if counts[v])
    rows = [
        [f"{i}. {one.claim.says}", f"**{one.verdict}{scale}**", one.why or effect(one)]
        for i, one in enumerate(judged, 1)
    ]
    table = markdown.markdown(["claim", "verdict", f"effect ({sweep.confidence} interval)"], rows)
    return [f"Of {len(judged)} claim{'s' * (len(judged) > 1)}: {said}{scale}.", table, MEANING]


def results(sweep: Sweep, cells: Sequence[Condition], judged: Sequence[ClaimResult]) -> list[str]:
    """The tables of cells, or of the best trials of a search."""
    if sweep.facts.get("search"):
        return ["The best trials:", best_trials(sweep)]
    more = [word for one in judged for word in one.claim.words if word not in sweep.words]
    parts = [
        f"Mean ± standard deviation ({sweep.confidence} interval of the mean) over seeds:",
        tables.results(cells, sweep.words, not_run(sweep)),
    ]
    if more:
        table = tables.results(cells, list(dict.fromkeys(more)))
        parts += ["What the claims compare besides:", table]
    costs = "What a run took, on average (runs that share a machine slow each other down):"
    return [*parts, costs, tables.costs(cells)]


def coverage(sweep: Sweep) -> str:
    """What would vary if all were done again, and what would not."""
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
    """The runs that are in no statistic, and why."""
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
    """What repeats it, and what it ran on."""
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
