"""Write the report of a sweep in Markdown; the same folder gives the same text."""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alexlab.reporting import markdown
from alexlab.reporting.formatting import format_metric, less_is_better
from alexlab.reporting.markdown import escape
from alexlab.runs.folder import HISTORY, LOG, METRICS
from alexlab.studies import statistics as st
from alexlab.studies import tables
from alexlab.studies.answers import ClaimAnswer
from alexlab.studies.claims import KINDS
from alexlab.studies.comparisons import measured_gain
from alexlab.studies.conditions import Condition, not_run
from alexlab.studies.metrics import parse_metric
from alexlab.studies.plots import best_trials
from alexlab.studies.results import Sweep, is_number
from alexlab.studies.setting import DOUBLED, TUNE
from alexlab.studies.shared import shared_conditions
from alexlab.studies.validity import read_gate
from alexlab.studies.wording import (
    MANY_SEEDS,
    clipped,
    effect_with_interval,
    failures,
    headline,
    image_by_image,
    margin_of,
    metric_name,
    seeds,
    sentence,
    size_of,
)

Figures = Mapping[str, Sequence[tuple[str, str]]]  # heading -> (file below plots/, caption)
SOURCES = {
    "asserts": "The article asserts this.",
    "suggests": "The article suggests this.",
    "asks": "The article asks this; it claims nothing.",
    "ours": "This question is ours.",
}
SETTINGS = {
    "tuned": "Setting: tuned. Each condition trains at its own best rate.",
    "published": "Setting: published. All conditions use the article's own numbers and epochs.",
    TUNE: "Setting: tune. These runs choose rates; no claim is answered from them.",
    DOUBLED: "Setting: doubled. These runs train twice as long, to see whether the conditions have"
    " converged; no claim is answered from them.",
}
ALL_SETTINGS, RUNS_AND_FILES = "All settings", "Runs and files"
DETAILS = (
    *("Inside the layers", "What the intervals cover", "How it was run"),
    *(ALL_SETTINGS, RUNS_AND_FILES),
)
FILES = ("report.md", "trials.csv", "runs.csv", "summary.csv", "answers.json", "sweep.yaml")
EVIDENCE = ("Methods", "Conditions", "Learning curves")  # sections with the evidence for answers
ABSOLUTE = re.compile(r"(?<![\w.:/}-])/(?:[^\s/'\"`|,]+/)+(?=[^\s/])")


def folded(answers: Sequence[ClaimAnswer]) -> tuple[str, ...]:
    """Return the sections that the HTML page folds; without answers the results stay open."""
    return (*EVIDENCE, *DETAILS) if answers else DETAILS


def portable(text: str) -> str:
    """Replace the folders of absolute paths in `text` by `...`, as they belong to one machine."""
    return ABSOLUTE.sub(".../", text)


def report(
    sweep: Sweep,
    conditions: Sequence[Condition],
    answers: Sequence[ClaimAnswer],
    figures: Figures,
) -> str:
    """Write the whole page."""
    cards = [card(number, one) for number, one in enumerate(answers, 1)]
    sections = {
        "Answers": cards,
        "Best trials": [best_trials(sweep)] if sweep.is_search else [],
        "Conditions": [] if sweep.is_search else condition_tables(sweep, conditions, answers),
        "Methods": [methods(sweep, answers)] if answers else [],
        "Learning curves": [],
        "Inside the layers": [],
        "What the intervals cover": [coverage(sweep)],
        "What did not finish": [unfinished(sweep)],
        "How it was run": how(sweep),
    }
    parts = opening(sweep, conditions, answers)
    for head, texts in sections.items():
        drawn = [f"![{text}](plots/{file})\n\n*{text}*" for file, text in figures.get(head, [])]
        if head == "Answers":
            texts, drawn = [*drawn, *texts], []
        if texts or drawn:
            parts += [f"## {head}", *texts, *drawn]
    return portable("\n\n".join(parts)) + "\n"


def opening(
    sweep: Sweep, conditions: Sequence[Condition], answers: Sequence[ClaimAnswer]
) -> list[str]:
    """Write the question, the answer in brief, the sources, the data and the setting."""
    done, planned, study = len(sweep.done), len(sweep.runs), sweep.about
    parts = [f"# {sweep.question}"]
    if answers and (text := headline(list(answers))):
        parts.append(text)
    if study and not study.get("claims") and not sweep.is_search:
        parts.append("The study file has no claims, so there are no answers: the tables follow.")
    if study.get("articles"):
        parts.append("\n".join(f"- {describe_article(one)}" for one in study["articles"]))
    labels = {"source": "Source", "papers": "See also", "assumed": "Assumed"}
    labels["differs"] = "Differs from the article"
    for key, word in labels.items():
        if study.get(key):
            parts.append(f"{word}: {str(study[key]).rstrip('.')}.")
    runs = f"{done}{f' of {planned}' * (done < planned)} runs{' finished' * sweep.is_search}."
    parts.append(f"{runs} {data(sweep)}".strip())
    if study:
        plain = f"Setting: {sweep.setting}."
        parts.append(plain if sweep.is_search else SETTINGS.get(sweep.setting, plain))
    is_tuned = sweep.setting == "tuned" and not sweep.is_search
    if is_tuned and (text := convergence(sweep.about, conditions)):
        parts.append(text)
    if changed := sweep.changed_by_hand:
        parts.append(f"**Changed by hand**: {', '.join(map(escape, changed))}.")
    return parts


def convergence(study: Mapping[str, Any], conditions: Sequence[Condition]) -> str:
    """Write how twice the epochs change val in each condition, or that it was not measured."""
    gate, gains = read_gate(study), study.get("converged") or {}
    if gate is None:
        return ""
    metric = parse_metric(gate.metric).name
    sign = -1 if less_is_better(gate.metric) else 1
    measured = {c.label: measured_gain(gains, c.label, c.values) for c in conditions if c.runs}
    said = ", ".join(
        f"{name} {format_metric(metric, sign * gain, signed=True)}"
        for name, gain in measured.items()
        if gain is not None
    )
    rest = ", ".join(name for name, gain in measured.items() if gain is None)
    texts = [
        f"Twice as many epochs change {metric} by: {said} (means over the seeds that chose the"
        " rates)."
        if said
        else "",
        f"Not measured for {rest}; a claim then asks for the gain over the last 20% of the epochs."
        if rest
        else "",
    ]
    return " ".join(filter(None, texts))


def describe_article(article: Mapping[str, str]) -> str:
    """Describe an article: name, title with translation, author, date, link."""
    title = f"{article['title']} (\u201c{article['title_in_english']}\u201d)"
    name = article["name"][:1].upper() + article["name"][1:]
    link = f"<{article['link']}>" if "://" in article["link"] else article["link"]
    facts = f"author {article['author']}, date {article['date']}, link: {link}"
    return f"{name}: {title}; {facts}."


def data(sweep: Sweep) -> str:
    """Name the data sets, with their numbers of images per split."""
    found: dict[str, list[Mapping[str, int]]] = {}
    for run in sweep.done:
        found.setdefault(str(run.config.get("data.name")), []).append(run.record.get("images", {}))
    sets = []
    for name, images in found.items():
        # a run from a committed table of runs has no number for val
        counts = {s: sorted(one[s] for one in images if s in one) for s in ("train", "val", "test")}
        ranges = {s: f"{n[0]}-{n[-1]}" if n[0] < n[-1] else n[0] for s, n in counts.items() if n}
        sizes = ", ".join(f"{number} {split}" for split, number in ranges.items())
        sets.append(f"{name} ({sizes} images)" if sizes else name)
    return f"Data: {', '.join(sets)}." if sets else ""


def card(number: int, one: ClaimAnswer) -> str:
    """Write one claim with its source, its answer and the numbers behind it."""
    claim = one.claim
    said = sentence(one)
    lines = [f"### {number}. {claim.statement}", f"**{one.answer}**{judgement(one)} {said}"]
    if one.answer not in (st.NOT_TESTED,) and one.reason:
        lines.append(f"The claim names a condition that does not train, but {one.reason}.")
    quoted = [f"> {claim.quote}"] * bool(claim.quote)
    quoted += [f"> ({claim.translation})"] * bool(claim.translation)
    if quoted:
        lines.append("\n>\n".join(quoted))
    said = SOURCES[claim.source_says]
    lines.append(f"{said} Source: {claim.article}." if claim.article else said)
    margin = margin_of(claim)
    compared = f"Compared: {one.comparison.title}. " if one.comparison else ""
    details = [
        f"{compared}The claim is whether {KINDS[claim.kind]}; a difference of {margin} matters."
    ]
    if one.comparison and one.answer == st.NOT_TESTED and not math.isnan(one.effect):
        failed = one.comparison.not_trained(one.seeds)
        if all(bad < runs for bad, runs in failed):  # else all numbers of a condition are guessing
            how = ", with failures as guessing" if any(bad for bad, _ in failed) else ""
            details.append(f"So far{how}: {effect_with_interval(one)}, {seeds(one.n)}.")
    elif not math.isnan(one.level):
        details.append(
            f"Look {one.look} of {len(one.looks)}, at {seeds(one.n)}, spends a level of"
            f" {one.level:.4f}. The interval that covers new images too is {new_images(one)}."
        )
    if one.planned_seeds is not None:
        few = f"about {one.planned_seeds}"
        planned = few if one.planned_seeds <= st.MAX_SEEDS else MANY_SEEDS
        details.append(
            f"A study needs {planned} seeds to detect a difference of {margin}, by the upper limit"
            f" of the spread (its estimate is {size_of(claim, one.sd)})."
        )
    details += [text for text in (failures(one), image_by_image(one)) if text]
    details += [f"{note[0].upper()}{note[1:]}." for note in one.notes]
    return "\n\n".join([*lines, "\n".join(f"- {text}" for text in details)])


def judgement(one: ClaimAnswer) -> str:
    """Return ": the claim is supported.", or only a colon."""
    return f": the claim is **{one.judgement}**." if one.judgement else ":"


def new_images(one: ClaimAnswer) -> str:
    """Format the interval that covers new images (Nadeau and Bengio 2003)."""
    metric = one.claim.metrics[0]
    if one.claim.is_ratio or math.isnan(one.low_new):
        return "not computed"
    found = st.Interval(one.effect, one.low_new, one.high_new)
    interval = clipped(metric, found, one.claim.target)
    limits = (format_metric(metric, v, signed=True) for v in interval)
    return " to ".join(limits)


def methods(sweep: Sweep, answers: Sequence[ClaimAnswer]) -> str:
    """Describe the rule for the answers."""
    gate = read_gate(sweep.about)
    looks = next((one.looks for one in answers if one.looks), [])
    exempt = (
        " Some claims say that a condition does not train; their answers do not ask that it trains."
        if any(one.claim.untrained for one in answers)
        else ""
    )
    texts = [
        "The interval of each claim is a t interval of differences paired by seed. Its level is"
        f" shared by all comparisons of the study (Bonferroni) and by the looks, which are fixed"
        f" at {', '.join(map(str, looks))} seeds (Pocock-type spending, Lan and DeMets 1983)."
        if looks
        else "",
        "An interval inside the margin on both sides means *no difference that matters*; otherwise"
        " one above zero *more*, one below zero *less*, and one with zero inside *cannot tell*. An"
        " answer does not change at a later look.",
        f"A condition has trained when 80% of its runs reach {gate.describe()} without a symptom"
        " other than a stalled training loss, which a network that has converged also has. A run"
        f" that diverged or stayed at chance counts as guessing.{exempt}"
        " An answer is about runs that train, because a failure that has not happened yet is not in"
        " the data. If runs failed, the answer must be the same over all pairs, with failures as"
        " guessing, and over the pairs in which both runs trained; otherwise it is *cannot tell*."
        " The limit beside the number of failures is one-sided, of 95% (Clopper and Pearson 1934):"
        " without a failure in n runs, 1 - 0.05^(1/n)."
        if gate
        else "",
    ]
    return " ".join(text for text in texts if text)


def condition_tables(
    sweep: Sweep, conditions: Sequence[Condition], answers: Sequence[ClaimAnswer]
) -> list[str]:
    """Write the tables of conditions."""
    more = [metric for one in answers for metric in one.claim.metrics]
    more = [metric for metric in dict.fromkeys(more) if metric not in sweep.metrics]
    parts = [
        "Mean ± standard deviation over seeds, with the 95% interval of the mean from"
        f" {st.MIN_SEEDS} seeds on:",
        tables.results(conditions, sweep.metrics, not_run(sweep)),
    ]
    if more:
        names = "; ".join(f"{metric} is the {metric_name(metric)}" for metric in more)
        parts += [f"Other metrics of the claims ({names}):", tables.results(conditions, more)]
    costs = "Mean cost of a run (runs that share a machine slow each other down):"
    return [*parts, costs, tables.costs(conditions)]


def coverage(sweep: Sweep) -> str:
    """Describe what the intervals cover, and what they do not."""
    if sweep.is_search:
        return (
            "A search has no intervals: its trials are not a sample. The best of many trials looks"
            " better than it is; run it over seeds before you compare it."
        )
    moves = len({run.config.get("data.split_seed") for run in sweep.done}) > 1
    also = (
        " and, since `data.split_seed` follows it, the split into train, val and test (test images"
        " of the data set's own stay the same; then the wider interval is only a rough guide)"
    )
    fixed = " All runs share one split: other splits are not covered."
    return (
        "The intervals cover these images and new seeds: a seed sets the initial weights, the"
        f" order of images, dropout and augmentation{also * moves}.{fixed * (not moves)} The wider"
        " interval of each claim covers new images of the same kind too (Nadeau and Bengio 2003)."
    )


def unfinished(sweep: Sweep) -> str:
    """List the runs that did not finish, with the reason."""
    rest = [run for run in sweep.runs if not run.finished]
    if not rest:
        return f"All {len(sweep.runs)} runs finished."
    states = Counter(run.state for run in rest)
    said = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    told = Counter((sweep.label(r.values), r.state, r.error[:300]) for r in rest if r.error)
    rows = [
        [escape(label), str(n), state, escape(error)] for (label, state, error), n in told.items()
    ]
    table = "\n\n" + markdown.markdown(["settings", "runs", "state", "error"], rows)
    diverged = sum(run.diverged for run in rest)
    guess = "; in the answers they count as guessing" * bool(sweep.about.get("claims"))
    also = f" {diverged} diverged{guess}." * bool(diverged)
    return f"{said}, of {len(sweep.runs)}.{also}{table * bool(rows)}"


def how(sweep: Sweep) -> list[str]:
    """Write the command of the sweep, the hardware and the settings."""
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
    differing = [[axis, _values_of(sweep, axis)] for axis in sweep.axes]
    for key in sorted({key for run in sweep.done for key in run.config} - {*sweep.axes}):
        values = {str(run.config[key]): None for run in sweep.done if key in run.config}
        lines.append(f"{key}: {_distinct(values)}")
        differing += [[key, _distinct(values)]] * (len(values) > 1)
    differing_settings = [
        "Settings that differ between the runs:",
        markdown.markdown(["setting", "values"], [[k, markdown.escape(v)] for k, v in differing]),
    ] * bool(differing)
    shared = [
        f"These studies use the same runs of {label}: {', '.join([sweep.folder.name, *names])}."
        for label, names in shared_conditions(sweep).items()
    ]
    return [
        f"```\n{sweep.facts['command']}\n```",
        *shared,
        table,
        *differing_settings,
        f"### {ALL_SETTINGS}",
        "```\n" + "\n".join(lines) + "\n```",
    ]


def runs_and_files(sweep: Sweep) -> str:
    """Write the section with links to runs and files, for a page in the folder of the sweep."""
    rows = []
    for run in sweep.runs:
        folder = run.folder or sweep.folder / "none"
        place = os.path.relpath(folder, sweep.folder)
        near = not place.startswith(os.path.join("..", "..")) and folder.exists()
        name = markdown.escape(Path(place).name)
        links = [f"[{name}]({_url(place)}/)" if near else name]
        for file, text in ((LOG, "log"), (HISTORY, "epochs"), (METRICS, "result")):
            if near and (folder / file).exists():
                links.append(f"[{text}]({_url(place)}/{file})")
        label = markdown.escape(sweep.label(run.values))
        score = float(run.objective) if is_number(run.objective) else math.nan
        value = format_metric(f"val/{sweep.metric}", score)
        rows.append([str(run.number), label, run.seed, run.state, value, " ".join(links)])
    files = [file for file in FILES if (sweep.folder / file).exists()]
    parts = [
        f"## {RUNS_AND_FILES}",
        f"Files: {', '.join(f'[{file}]({file})' for file in files)}.",
        markdown.markdown(["trial", "condition", "seed", "state", "objective", "folder"], rows),
    ]
    return "\n\n".join(parts) + "\n"


def _url(path: str) -> str:
    return quote(Path(path).as_posix())


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value not in (None, "")))


def _values_of(sweep: Sweep, axis: str) -> str:
    """Return the values of an axis, or the interval from which a search draws them."""
    drawn_from = sweep.facts["axes"][axis]
    if isinstance(drawn_from, str):
        return re.sub(r"[\[\]']", "", drawn_from).strip()  # its tags, a list
    return _distinct(run.values[axis] for run in sweep.runs)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
