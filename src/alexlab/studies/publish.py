"""Publish reports of studies and list them with their answers."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from alexlab.reporting.html import html_page
from alexlab.reporting.markdown import markdown
from alexlab.runs.folder import write_atomically
from alexlab.studies.results import Sweep
from alexlab.studies.verdicts import VERDICTS, ClaimResult

FACTS = "verdicts.json"
START, END = "<!-- results -->", "<!-- /results -->"
PUBLISHED = "report.md", "summary.csv", FACTS
Found = Mapping[Path, Mapping[str, Any]]  # the folder of a report -> its facts


def facts(sweep: Sweep, results: Iterable[ClaimResult]) -> dict[str, Any]:
    """Return the content of verdicts.json: the facts that an index shows."""
    claims = [
        {"statement": one.claim.statement, "verdict": one.verdict, "why": one.why}
        for one in results
    ]
    return {
        "study": sweep.study,
        "question": sweep.question,
        "scale": sweep.facts.get("scale") or "full",
        "finished": len(sweep.done),
        "planned": len(sweep.runs),
        "seeds": len({run.seed for run in sweep.done}),
        "claims": claims,
    }


def read(root: Path) -> Found:
    """Read the facts of all reports in folders of `root`."""
    files = sorted(root.glob(f"*/{FACTS}"))
    return {file.parent: json.loads(file.read_text("utf-8")) for file in files}


def table(found: Found, root: Path, waiting: Sequence[str] = ()) -> str:
    """Return one row per study, linked from `root`; `waiting` are questions not run yet."""
    rows = []
    for folder, study in found.items():
        link = Path(os.path.relpath(folder / "report.md", root)).as_posix()
        scale = " at quick scale" * (study["scale"] == "quick")
        said = []
        for verdict in VERDICTS:
            if statements := [
                one["statement"] for one in study["claims"] if one["verdict"] == verdict
            ]:
                said.append(f"**{verdict}{scale}**: {'; '.join(statements)}.")
        finished, planned = study["finished"], study["planned"]
        runs = f"{finished} of {planned}" if finished < planned else str(planned)
        question = f"[{study['question']}]({link})"
        rows.append([question, " ".join(said) or "-", study["scale"], str(study["seeds"]), runs])
    rows += [[question, "not run yet", "", "", ""] for question in waiting]
    return markdown(["question", "verdicts", "scale", "seeds", "runs"], rows)


def write_index(root: Path) -> Path:
    """Write index.md and index.html of the sweeps below `root`."""
    text = f"# Studies\n\n{table(read(root), root)}\n"
    write_atomically(root / "index.md", text)
    write_atomically(
        root / "index.html", html_page(text.replace("report.md)", "report.html)"), root)
    )
    return root / "index.html"


def publish(sweeps: Iterable[Sweep], target: Path, readme: Path, conf: Path) -> None:
    """Copy reports to `target`/<study>, and list them there and in `readme`.

    Raises:
        ValueError: `readme` lacks the marks between which the list stands.
    """
    for sweep in sweeps:
        place = target / sweep.study
        shutil.rmtree(place / "plots", ignore_errors=True)
        (place / "plots").mkdir(parents=True)
        plots = re.findall(r"\]\((plots/[^)]+)\)", (sweep.folder / "report.md").read_text("utf-8"))
        for name in [*PUBLISHED, *plots]:
            shutil.copyfile(sweep.folder / name, place / name)
    found = read(target)
    done = {study["study"] for study in found.values()}
    files = [file for file in sorted(conf.glob("*.yaml")) if file.stem not in done]
    abouts = [yaml.safe_load(file.read_text("utf-8")).get("study", {}) for file in files]
    waiting = [about["question"] for about in abouts if "question" in about]
    by = "Written by `alexlab report SWEEP_DIR --publish docs/studies`."
    page_of_all = f"# Published reports\n\n{by}\n\n{table(found, target, waiting)}\n"
    write_atomically(target / "README.md", page_of_all)
    listed = f"{START}\n{table(found, readme.parent, waiting)}\n{END}"
    marked = re.compile(f"{START}.*?{END}", re.DOTALL)
    text, count = marked.subn(lambda _: listed, readme.read_text("utf-8"), count=1)
    if not count:
        raise ValueError(f"{readme} has no {START} ... {END} for the list of results")
    write_atomically(readme, text)
