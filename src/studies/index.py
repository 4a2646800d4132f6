"""Lists of studies with their verdicts, and the reports that are published."""

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from src.run_folder import write_atomically
from src.studies.html import page
from src.studies.sweep import Sweep
from src.studies.tables import markdown
from src.studies.verdicts import VERDICTS, Judged

FACTS = "verdicts.json"
MARKS = "<!-- results -->", "<!-- /results -->"
PUBLISHED = "report.md", "summary.csv", FACTS


def facts(sweep: Sweep, judged: Iterable[Judged]) -> dict[str, Any]:
    """What an index says of a sweep: verdicts.json."""
    claims = [{"says": one.claim.says, "verdict": one.verdict, "why": one.why} for one in judged]
    return {
        "study": sweep.study,
        "question": sweep.about.get("question") or f"Sweep {sweep.folder.name}",
        "scale": sweep.facts.get("scale") or "full",
        "finished": len(sweep.done),
        "planned": len(sweep.runs),
        "seeds": len({run.seed for run in sweep.done}),
        "claims": claims,
    }


def read(folders: Iterable[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """The facts of those folders that have a report."""
    files = [folder / FACTS for folder in folders]
    return [(file.parent, json.loads(file.read_text("utf-8"))) for file in files if file.is_file()]


def table(found: Iterable[tuple[Path, dict[str, Any]]], root: Path, waiting: Sequence[str]) -> str:
    """One row a study; links are relative to `root`. `waiting` are questions not answered yet."""
    rows = []
    for folder, study in found:
        link = (folder / "report.md").relative_to(root).as_posix()
        said = []
        for verdict in VERDICTS:
            if says := [one["says"] for one in study["claims"] if one["verdict"] == verdict]:
                scale = " at quick scale" * (study["scale"] == "quick")
                said.append(f"**{verdict}{scale}**: {'; '.join(says)}.")
        runs = f"{study['finished']} of {study['planned']}"
        runs = str(study["planned"]) if study["finished"] == study["planned"] else runs
        rows.append(
            [
                f"[{study['question']}]({link})",
                " ".join(said) or "-",
                study["scale"],
                str(study["seeds"]),
                runs,
            ]
        )
    rows += [[question, "not run yet", "", "", ""] for question in waiting]
    return markdown(["question", "verdicts", "scale", "seeds", "runs"], rows)


def write_index(root: Path, found: list[tuple[Path, dict[str, Any]]]) -> Path:
    """index.md and index.html of the sweeps below `root`."""
    text = f"# Studies\n\n{table(found, root, [])}\n"
    write_atomically(root / "index.md", text)
    write_atomically(root / "index.html", page(text.replace("report.md)", "report.html)"), root))
    return root / "index.html"


def publish(sweeps: Iterable[Sweep], target: Path, readme: Path, conf: Path) -> None:
    """Copy reports to `target`/<study>, and list them there and in `readme`.

    Raises:
        ValueError: `readme` has no place for the list.
    """
    for sweep in sweeps:
        place = target / sweep.study
        shutil.rmtree(place / "plots", ignore_errors=True)
        (place / "plots").mkdir(parents=True)
        for name in PUBLISHED:
            shutil.copyfile(sweep.folder / name, place / name)
        for name in re.findall(r"\]\((plots/[^)]+)\)", (place / "report.md").read_text("utf-8")):
            shutil.copyfile(sweep.folder / name, place / name)
    found = read(sorted(path for path in target.iterdir() if path.is_dir()))
    done = {study["study"] for _, study in found}
    waiting = [q for file in sorted(conf.glob("*.yaml")) if (q := _question(file, done))]
    head = (
        "# Published reports\n\nWritten by `python -m src.report SWEEP_DIR --publish docs/studies`."
    )
    write_atomically(target / "README.md", f"{head}\n\n{table(found, target, waiting)}\n")
    text = readme.read_text("utf-8")
    before, mark, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not mark or not end:
        raise ValueError(f"{readme} has no {MARKS[0]} ... {MARKS[1]} for the list of results")
    rows = table([(f.absolute(), study) for f, study in found], readme.absolute().parent, waiting)
    write_atomically(readme, f"{before}{mark}\n{rows}\n{end}{after}")


def _question(file: Path, done: set[str]) -> str:
    """What the study in `file` asks; "" when it is no study but one run, or has an answer."""
    about = yaml.safe_load(file.read_text("utf-8")).get("study", {})
    return "" if file.stem in done else str(about.get("question", ""))
