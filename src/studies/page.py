"""A sweep's report in Markdown. A pure function of the sweep's folder: no clock, no machine."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from src.studies import tables
from src.studies.cells import Cell
from src.studies.claims import KINDS
from src.studies.metrics import shown
from src.studies.statistics import MOST_SEEDS
from src.studies.sweep import Run, Sweep
from src.studies.verdicts import CONFIRMED, INCONCLUSIVE, NOT_TESTED, REFUTED, Judged

Figures = Sequence[tuple[str, str]]  # (file below plots/, what it shows)
ABSOLUTE = re.compile(r"(?<![\w.:/}-])/(?:[^\s/'\"`|,]+/)+(?=[^\s/])")


def portable(text: str) -> str:
    """`text` without the folders of absolute paths: they name a machine."""
    return ABSOLUTE.sub(".../", text)


def report(
    sweep: Sweep, cells: Sequence[Cell], judged: Sequence[Judged], figures: Figures, level: float
) -> str:
    """The whole page."""
    scale = " (at quick scale)" if sweep.quick else ""
    done = len(sweep.done)
    runs = f"{done} runs" if done == len(sweep.runs) else f"{done} of {len(sweep.runs)} runs"
    name = sweep.about.get("question") or f"Sweep {sweep.folder.name}"
    about = [f"Source: {sweep.about['source']}."] if sweep.about.get("source") else []
    about += [f"Assumed: {sweep.about['notes']}"] if sweep.about.get("notes") else []
    parts = [f"# {name}{scale}", *about, f"{runs}. {data(sweep)}"]
    if sweep.quick:
        parts.append(quick(sweep))
    if judged:
        parts += ["## Verdicts", tally(judged, sweep), verdicts(judged, sweep)]
    parts += ["## Results", *results(sweep, cells, judged, level)]
    parts += [f"![{text}](plots/{file})\n\n*{text}*" for file, text in figures]
    if judged:
        parts += ["## Claims", *(claim(i, one, judged, sweep) for i, one in enumerate(judged, 1))]
    parts += ["## What the intervals cover", coverage(sweep, level)]
    parts += ["## What did not finish", unfinished(sweep), "## How it was run", *how(sweep)]
    return portable("\n\n".join(part for part in parts if part)) + "\n"


def data(sweep: Sweep) -> str:
    """The data sets and their sizes."""
    found: dict[str, set[str]] = {}
    for run in sweep.done:
        images = run.record.get("images", {})
        sizes = ", ".join(f"{n} {split}" for split, n in images.items())
        found.setdefault(str(run.config.get("data.name")), set()).add(sizes)
    words = [
        name + (f" ({next(iter(sizes))} images)" if len(sizes) == 1 and sizes != {""} else "")
        for name, sizes in found.items()
    ]
    return f"Data: {', '.join(words)}." if words else ""


def quick(sweep: Sweep) -> str:
    """What quick scale changes."""
    changed = ", ".join(f"`{key}={value}`" for key, value in sweep.about.get("quick", {}).items())
    text = f"Quick scale sets {changed}. " if changed else ""
    return f"{text}At full scale the verdicts may be others."


def tally(judged: Sequence[Judged], sweep: Sweep) -> str:
    """The verdicts in a sentence."""
    counts = Counter(one.verdict for one in judged)
    said = [f"{counts[v]} {v}" for v in (CONFIRMED, REFUTED, INCONCLUSIVE, NOT_TESTED) if counts[v]]
    claims = "1 claim" if len(judged) == 1 else f"{len(judged)} claims"
    return f"Of {claims}: {', '.join(said)}{at_scale(sweep)}."


def at_scale(sweep: Sweep) -> str:
    """The words that go with every verdict."""
    return " at quick scale" if sweep.quick else ""


def verdicts(judged: Sequence[Judged], sweep: Sweep) -> str:
    """The claims with their verdicts and effects, as a table."""
    rows = [
        [f"{i}. {one.claim.says}", f"**{one.verdict}{at_scale(sweep)}**", effect(one) or one.why]
        for i, one in enumerate(judged, 1)
    ]
    return tables.markdown(["claim", "verdict", "effect (95% interval)"], rows)


def effect(one: Judged) -> str:
    """The effect with its interval; "" when there is none."""
    if one.pairs is None:
        return ""
    values = [one.effect, one.low, one.high]
    if one.claim.kind == "variability":
        mean, low, high = (f"{math.exp(v):.2f}" for v in values)
        return f"{mean} times ({low} to {high})"
    word = one.claim.words[0]
    low, high = (shown(word, v, signed=True, unit=False) for v in values[1:])
    return f"{shown(word, values[0], signed=True)} ({low} to {high})"


def results(
    sweep: Sweep, cells: Sequence[Cell], judged: Sequence[Judged], level: float
) -> list[str]:
    """The tables of cells, or of the best trials of a search."""
    if sweep.facts.get("search"):
        return [tables.best_trials(sweep)]
    words = [f"{split}/{sweep.metric}" for split in ("test", "val", "train")]
    more = [w for one in judged for w in one.claim.words if w not in words]
    text = f"Mean ± standard deviation ({100 * (1 - level):g}% interval of the mean) over seeds."
    parts = [text, tables.results(cells, words, level)]
    if more := list(dict.fromkeys(more)):
        parts += ["What the claims compare besides:", tables.results(cells, more, level)]
    costs = "What a run took, on average (runs that share a machine slow each other down):"
    return [*parts, costs, tables.costs(cells)]


def claim(index: int, one: Judged, judged: Sequence[Judged], sweep: Sweep) -> str:
    """One claim in full."""
    head = f"### {index}. {one.claim.says}"
    quote = f"> {one.claim.quote}" if one.claim.quote else ""
    if one.pairs is None:
        text = f"**{one.verdict}{at_scale(sweep)}**: {one.why}."
        return "\n\n".join(part for part in (head, quote, text) if part)
    family = sum(other.pairs is not None for other in judged)
    method = sweep.about.get("correction", "holm")
    for_all = f", corrected for {family} claims ({method})" * (family > 1 and method != "none")
    lines = [
        f"**{one.verdict}{at_scale(sweep)}**: {one.pairs.title}: {effect(one)},"
        f" {len(one.pairs.d)} seeds. {margin(one)}",
        f"Test: {KINDS[one.claim.kind]}; p = {p(one.p_confirm)} for confirming, {p(one.p_refute)}"
        f" for refuting{for_all}, at level {sweep.about.get('level', 0.05)}.",
    ]
    if one.seeds_needed is not None:
        count = str(one.seeds_needed)
        count = f"more than {MOST_SEEDS}" if one.seeds_needed > MOST_SEEDS else f"about {count}"
        lines.append(
            f"To decide it would take {count} seeds, if effect and spread stay as they are."
        )
    lines += [f"{note[0].upper()}{note[1:]}." for note in one.notes]
    return "\n\n".join(part for part in (head, quote, *lines) if part)


def margin(one: Judged) -> str:
    """The margin in words."""
    word, size = one.claim.words[0], one.claim.margin
    if one.claim.kind == "variability":
        return f"Asked for: at least {size:g} times."
    text = shown(word, size, signed=True).lstrip("+")
    if one.claim.kind == "within":
        return f"Asked for: within {text} of {shown(word, one.claim.target or 0.0)}."
    return f"Asked for: {'within' if one.claim.two_sided else 'at least'} {text}."


def p(value: float) -> str:
    """A p-value."""
    return "below 0.0001" if value < 0.0001 else f"{value:.2g}"


def coverage(sweep: Sweep, level: float) -> str:
    """What would vary if all were done again, and what would not."""
    moves = len({run.config.get("data.split_seed") for run in sweep.done}) > 1
    split = (
        " and, since `data.split_seed` moves with it, the split into train, val and test"
        if moves
        else ""
    )
    fixed = "" if moves else " All runs share one split: of other splits nothing is said."
    return (
        f"Seeds: a seed sets the initial weights, the order of images, dropout and augmentation"
        f"{split}.{fixed} Images are not resampled: what new images would give is not covered."
        f" Intervals are two-sided t intervals at {100 * (1 - level):g}%, each by itself; p-values"
        " are corrected. Val and test are of the epoch that was best on val. Train metrics are"
        " means over an epoch in which the net learns, with dropout and augmentation on."
    )


def unfinished(sweep: Sweep) -> str:
    """The runs that are in no statistic, and why."""
    rest = [run for run in sweep.runs if not run.finished]
    if not rest:
        return f"All {len(sweep.runs)} runs finished."
    counts = Counter(run.state for run in rest)
    said = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
    told = [run for run in rest if run.error]
    rows = [[str(run.number), sweep.label(run.values), run.state, run.error[:200]] for run in told]
    table = tables.markdown(["trial", "settings", "state", "error"], rows) if rows else ""
    return f"{said}, of {len(sweep.runs)}; they are in no statistic.\n\n{table}".strip()


def how(sweep: Sweep) -> list[str]:
    """What repeats it, and what it ran on."""
    done = sweep.done
    hours = sum(float(run.record.get("wall_s", 0)) for run in sweep.runs) / 3600
    facts = {
        "commit": distinct(done, lambda r: r.record.get("git")),
        "data fingerprint": distinct(done, lambda r: r.record.get("data_fingerprint")),
        "versions": distinct(done, lambda r: _pairs(r.record.get("versions", {}))),
        "hardware": distinct(done, lambda r: r.record.get("hardware")),
        "training time, all runs": f"{hours:.2f} h",
    }
    rows = [[key, value] for key, value in facts.items() if value]
    keys = dict.fromkeys(key for run in done for key in run.config if key not in sweep.axes)
    values = {key: dict.fromkeys(run.config.get(key) for run in done) for key in keys}
    lines = [f"{key}: {', '.join(map(str, found))}" for key, found in sorted(values.items())]
    recipes = sweep.about.get("recipes") or {}
    lines += [f"recipe {name}: {_pairs(made)}" for name, made in recipes.items()]
    command = f"```\n{sweep.facts['command']}\n```"
    return [command, tables.markdown(["", ""], rows), "```\n" + "\n".join(lines) + "\n```"]


def distinct(runs: Sequence[Run], of: Any) -> str:
    """The different values of `of`, in order."""
    return ", ".join(dict.fromkeys(str(of(run)) for run in runs if of(run)))


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
