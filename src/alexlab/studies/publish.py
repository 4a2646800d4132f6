"""Publish reports of studies and list their answers."""

import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from alexlab.reporting.markdown import markdown
from alexlab.runs.folder import write_atomically
from alexlab.studies import statistics as st
from alexlab.studies.answers import CONTRADICTED, ELSEWHERE, NOT_SUPPORTED, SUPPORTED
from alexlab.studies.answers_json import ANSWERS, RUNS
from alexlab.studies.claims import ASKS, ASSERTS, SUGGESTS, Claim, is_ratio, read_claims
from alexlab.studies.comparisons import NO_RUN
from alexlab.studies.results import ALL_RUNS, Sweep
from alexlab.studies.wording import MANY_SEEDS, describe_interval, metric_name, seeds

NO_CLAIM = "No claim of an article has been tested yet."
START, END = "<!-- results -->", "<!-- /results -->"
PUBLISHED = "report.md", "summary.csv", RUNS, ANSWERS
FINDINGS = "findings.md"  # beside the folder of the reports
NO_DECISION = "No claim has been decided yet."
MAX_ROWS = 3  # of the table in README.md
HEAD = ["claim", "we find", "answer", "setting"]
ABOUT_TABLE = (
    "An answer is about runs that train, unless it counts runs that did not. The interval covers"
    " new splits of the same images; the articles used other splits. "
)
Found = Mapping[Path, Mapping[str, Any]]  # the folder of a report -> its answers.json


def read(root: Path) -> Found:
    """Read all answers.json below `root`: of sweeps, or of published studies at each setting."""
    files = sorted([*root.glob(f"*/{ANSWERS}"), *root.glob(f"*/*/{ANSWERS}")])
    return {file.parent: json.loads(file.read_text("utf-8")) for file in files}


def study_table(found: Found, root: Path, waiting: Sequence[tuple[str, str]] = ()) -> str:
    """Return a table of studies at each setting, linked from `root`.

    Args:
        found: The published answers.
        root: The folder of the page.
        waiting: Questions without a report, each with the reason; the last rows.
    """
    rows = []
    for folder, study in found.items():
        said = []
        shown = claims_here(folder, found)
        for word in (SUPPORTED, CONTRADICTED, NOT_SUPPORTED, *st.ANSWERS):
            if claims := [one["claim"] for one in shown if answer_word(one) == word]:
                said.append(f"**{word}**: {'; '.join(claims)}.")
        finished, planned = study["finished"], study["planned"]
        runs = f"{finished} of {planned}" if finished < planned else str(planned)
        question = f"[{study['question']}]({_link(folder, root)})"
        rows.append([question, " ".join(said) or "-", study["setting"], str(study["seeds"]), runs])
    rows += [[question, reason, "", "", ""] for question, reason in waiting]
    return markdown(["question", "answers", "setting", "seeds", "runs"], rows)


def answer_word(one: Mapping[str, Any]) -> str:
    """Return what the answer says of the article's claim; the answer itself of a question."""
    return str(one["judgement"] or one["answer"])


def claim_table(found: Found, root: Path, waiting: Sequence[tuple[Claim, str]] = ()) -> str:
    """Return a table of the articles' claims at each setting, linked from `root`.

    Args:
        found: The published answers.
        root: The folder of the page.
        waiting: Claims without runs at any setting, each with the reason; the last rows.
    """
    rank = dict(zip(st.ANSWERS, (0, 0, 0, 1, 2), strict=True))
    claims = [row for row in _claims(found) if row[1]["source_says"] in (ASSERTS, SUGGESTS)]
    claims.sort(key=lambda row: rank[row[1]["answer"]])  # a stable sort
    rows = [_claim_row(folder, one, root) for folder, one in claims]
    rows += [
        [
            f"{claim.statement} ({_source(claim.source_says, claim.article)})",
            reason,
            f"**{st.NOT_TESTED}**",
            " or ".join(sorted(claim.settings)),
        ]
        for claim, reason in waiting
        if claim.source_says in (ASSERTS, SUGGESTS)
    ]
    return markdown(HEAD, rows) if rows else NO_CLAIM


def findings_table(found: Found, root: Path, most: int = MAX_ROWS) -> str:
    """Return a table of at most `most` decided claims: the first of each study, then the second.

    Claims of an article come before our own. A claim has one row, at the setting `published` if it
    is decided there.
    """
    of_study: dict[str, dict[str, tuple[Path, Mapping[str, Any]]]] = {}
    for folder, one in _claims(found):  # the setting "published" before "tuned"
        if one["answer"] in (st.MORE, st.LESS, st.NO_DIFFERENCE):
            of_study.setdefault(folder.parent.name, {}).setdefault(one["claim"], (folder, one))
    ranked = [
        (place, one["source_says"] not in (ASSERTS, SUGGESTS), number, (folder, one))
        for number, decided in enumerate(of_study.values())
        for place, (folder, one) in enumerate(
            sorted(
                decided.values(), key=lambda row: row[1]["source_says"] not in (ASSERTS, SUGGESTS)
            )
        )
    ]
    claims = [row for *_, row in sorted(ranked, key=lambda entry: entry[:3])][:most]
    return _table(claims, root) if claims else NO_DECISION


def claims_here(folder: Path, found: Found) -> list[Mapping[str, Any]]:
    """Return the answers of the report in `folder`, without claims whose runs are elsewhere."""
    with_runs = {one["name"] for at, one in _claims(found) if at.parent == folder.parent}
    return [
        one
        for one in found[folder]["claims"]
        if not (reason := str(one.get("reason"))).startswith(ELSEWHERE)
        and not (reason.startswith(NO_RUN) and one["name"] in with_runs)
    ]


def _claims(found: Found) -> list[tuple[Path, Mapping[str, Any]]]:
    """Return the answers of all reports, without claims that have no runs there."""
    return [
        (folder, one)
        for folder, study in sorted(found.items())
        for one in study["claims"]
        if not str(one.get("reason")).startswith((ELSEWHERE, NO_RUN))
    ]


def _table(claims: Sequence[tuple[Path, Mapping[str, Any]]], root: Path) -> str:
    return markdown(HEAD, [_claim_row(folder, one, root) for folder, one in claims])


def fill_in(text: str, found: Found, root: Path) -> str:
    """Return a Markdown page with the present answers between its marks, linked from `root`.

    Between `<!-- answer STUDY/SETTING/CLAIM -->` and `<!-- /answer -->` is one answer with its
    numbers, between `<!-- undecided -->` and `<!-- /undecided -->` a table of undecided claims.

    Raises:
        ValueError: A mark names a claim that is not among the published answers.
    """
    known = {
        f"{folder.parent.name}/{folder.name}/{one['name']}": (folder, one)
        for folder, one in _claims(found)
    }

    def answer(mark: re.Match[str]) -> str:
        if mark[1] not in known:
            raise ValueError(f"{FINDINGS}: no published answer {mark[1]}")
        folder, one = known[mark[1]]
        said, numbers, verdict, setting = _claim_row(folder, one, root)
        text = f"{said}: {verdict}. {numbers[:1].upper()}{numbers[1:]} (setting: {setting})."
        return f"<!-- answer {mark[1]} -->\n{text}\n<!-- /answer -->"

    undecided = [row for row in _claims(found) if row[1]["answer"] == st.CANNOT_TELL]
    rows = [
        [*_claim_row(folder, one, root)[:2], _seeds_needed(one), one["setting"]]
        for folder, one in undecided
    ]
    table = markdown(["claim", "so far", "seeds needed", "setting"], rows)
    text = re.sub(r"<!-- answer (\S+) -->.*?<!-- /answer -->", answer, text, flags=re.DOTALL)
    return re.sub(
        "<!-- undecided -->.*?<!-- /undecided -->",
        lambda _: f"<!-- undecided -->\n{table}\n<!-- /undecided -->",
        text,
        flags=re.DOTALL,
    )


def _seeds_needed(one: Mapping[str, Any]) -> str:
    needed = one.get("planned_seeds")
    equal = 1.0 if is_ratio(one["metric"]) else 0.0
    if one["low"] is not None and (one["low"] > equal or one["high"] < equal):
        return "-"  # seeds are not the problem, but runs that did not train
    return "-" if needed is None else f"about {needed}" if needed <= st.MAX_SEEDS else MANY_SEEDS


def _claim_row(folder: Path, one: Mapping[str, Any], root: Path) -> list[str]:
    source = _source(one["source_says"], one["article"])
    said = f"[{one['claim']}]({_link(folder, root)}) ({source})"
    answer = f"**{answer_word(one)}**"
    if one["answer"] == st.NOT_TESTED:
        return [said, one["reason"], answer, one["setting"]]
    compared = " against ".join(filter(None, dict.fromkeys(one["compared"])))
    failed = [one.get(f"not_trained_{group}") for group in ("treatment", "control")]
    counts = [
        f"{count} run{'s' * (count != 1)}{f' with {name}' * (name != ALL_RUNS)}"
        for name, count in zip(one["compared"], failed, strict=False)
        if count
    ]
    note = f"; {' and '.join(dict.fromkeys(counts))} did not train" if counts else ""
    metric = metric_name(one["metric"])
    if other := one.get("control_metric"):
        metric += f" {'over' if is_ratio(one['metric']) else 'minus'} {metric_name(other)}"
    numbers = f"{metric}, {compared}: {_effect(one)}, {seeds(one['n'])}{note}"
    return [said, numbers, answer, one["setting"]]


def _source(source_says: str, article: str) -> str:
    said_by = {ASSERTS: "asserted by {}", SUGGESTS: "suggested by {}", ASKS: "asked by {}"}
    return said_by.get(source_says, "our question").format(article)


def _effect(one: Mapping[str, Any]) -> str:
    scale = math.log if is_ratio(one["metric"]) else float
    values = [
        math.nan if one[key] is None else scale(one[key]) for key in ("effect", "low", "high")
    ]
    return describe_interval(one["metric"], st.Interval(*values), one.get("target"))


def _link(folder: Path, root: Path) -> str:
    return Path(os.path.relpath(folder / "report.md", root)).as_posix()


def dates(study_file: Path, commits: Sequence[str]) -> str:
    """Describe when a study file was committed and changed, before and after the first run.

    `commits` are those of the runs. Return "" if git does not know the file or the commits.
    """
    changes = _git(
        study_file, "log", "--follow", "--reverse", "--format=%h %as", "--", study_file.name
    )
    known = [
        (int(seconds), commit)
        for name in set(filter(None, commits))
        for line in _git(study_file, "show", "-s", "--format=%ct %h %as", name[:12])
        for seconds, _, commit in [line.partition(" ")]
    ]
    if not changes or not known:
        return ""
    first_run = min(known)[1]
    later = [
        line
        for line in changes
        if not _is_before(study_file, line.partition(" ")[0], first_run.partition(" ")[0])
    ]
    before = [line for line in changes[1:] if line not in later]
    text = f"The study file was first committed in {changes[0]}, the first run is of {first_run}."
    if before:
        text += f" The study file changed between them: {', '.join(before)}."
    return text + (
        f" The study file changed after that: {', '.join(later)}."
        if later
        else " The study file has not changed since."
    )


def _git(file: Path, *arguments: str) -> list[str]:
    command = ["git", "-C", str(file.parent), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def _is_before(file: Path, one: str, other: str) -> bool:
    command = ["git", "-C", str(file.parent), "merge-base", "--is-ancestor", one, other]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def publish(sweeps: Iterable[Sweep], target: Path, readme: Path, conf: Path) -> None:
    """Copy reports to `target`/<study>/<setting>, and list the answers there and in `readme`.

    Without sweeps, only update the lists.

    Raises:
        ValueError: `readme` lacks the marks around its list, or a mark names no published answer.
    """
    for sweep in sweeps:
        place = target / sweep.study / sweep.setting
        shutil.rmtree(place / "plots", ignore_errors=True)
        (place / "plots").mkdir(parents=True)
        plots = re.findall(
            r"\]\((plots/[\w.-]+)\)", (sweep.folder / "report.md").read_text("utf-8")
        )
        for name in [*PUBLISHED, *plots]:
            shutil.copyfile(sweep.folder / name, place / name)
        commits = [str(run.record.get("git") or "") for run in sweep.done]
        if history := dates(conf / f"{sweep.study}.yaml", commits):
            report = (place / "report.md").read_text("utf-8")
            write_atomically(
                place / "report.md", f"{report}\n## When the claims were written\n\n{history}\n"
            )
    found = read(target)
    done = {study["study"] for study in found.values()}
    files = sorted(conf.glob("*.yaml"))
    studies = {
        file.stem: yaml.safe_load(file.read_text("utf-8")).get("study", {}) for file in files
    }
    reasons = {
        name: f"not run: {study['not_run']}" if "not_run" in study else "not run yet"
        for name, study in studies.items()
    }
    waiting = [
        (study["question"], reasons[name])
        for name, study in studies.items()
        if name not in done and "question" in study
    ]
    answered = {(folder.parent.name, one["name"]) for folder, one in _claims(found)}
    open_claims = [
        (claim, reasons[name])
        for name, study in studies.items()
        for claim in read_claims(study)
        if (name, claim.name) not in answered
    ]
    by = "Written by `alexlab report SWEEP_DIR --publish docs/studies`."
    claims = f"## Claims of the articles\n\n{claim_table(found, target, open_claims)}"
    page = f"# Published reports\n\n{by}\n\n{study_table(found, target, waiting)}\n\n{claims}\n"
    write_atomically(target / "README.md", page)
    if not any(study["claims"] for study in found.values()):
        return  # the text of the readme stays until there are answers
    if (findings := target.parent / FINDINGS).exists():
        filled = fill_in(findings.read_text("utf-8"), found, findings.parent)
        write_atomically(findings, filled)
    link = os.path.relpath(target / "README.md", readme.parent)
    table = findings_table(found, readme.parent)
    meaning = os.path.relpath(target.parent / "concepts" / "answers.md", readme.parent)
    links = f"[What the words mean]({meaning}) · [all claims]({link})"
    listed = f"{START}\n{table}\n\n{ABOUT_TABLE}{links}\n{END}"
    marked = re.compile(f"{START}.*?{END}", re.DOTALL)
    text, count = marked.subn(lambda _: listed, readme.read_text("utf-8"), count=1)
    if not count:
        raise ValueError(f"{readme} has no {START} ... {END} for the list of results")
    write_atomically(readme, text)
