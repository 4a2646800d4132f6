"""Write the saved figures into README.md and docs/speed.md, between two comments."""

import re
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from benchmarks.process import ROOT
from benchmarks.sweeps import BASIC, JOBLIB, RAY
from benchmarks.table import Result, number
from benchmarks.trainings import LIGHTNING, OURS, SCRIPT

PAGES = ("README.md", "docs/speed.md")
PART = re.compile(r"(<!-- speed -->\n).*?(<!-- /speed -->)", re.DOTALL)


def publish(results: Mapping[str, Result], root: Path = ROOT) -> None:
    """Write the part between the comments of each page."""
    part = "\n".join(figures(results))
    for name in PAGES:
        text = (root / name).read_text("utf-8")
        new = PART.sub(lambda found: f"{found[1]}{part}\n{found[2]}", text)
        (root / name).write_text(new, "utf-8")


def figures(results: Mapping[str, Result]) -> list[str]:
    """Return the lines of the table; rows without results are left out."""

    def value(row: str, who: str) -> str:
        values = results[row].values.get(who)
        return number(median(values)) if values else "not measured"

    def beside(row: str, unit: str, *whos: str) -> str:
        known = [who for who in whos if who in results[row].values]
        return ", ".join(f"{value(row, who)}{unit} with {who}" for who in known)

    lines = ["| | alexlab | beside it |", "|---|---:|---|"]
    if "training-64" in results:
        bf16 = value("training-64", f"{OURS}, bf16-true")
        lines.append(
            "| images per second, torchvision's AlexNet at 64 px |"
            f" {value('training-64', OURS)}; {bf16} in bfloat16 |"
            f" {beside('training-64', '', SCRIPT, LIGHTNING)} |"
        )
    if "six" in results:
        lines.append(
            "| six trials of it, 3 epochs each |"
            f" {value('six', 'alexlab, 2 jobs')} s |"
            f" {beside('six', ' s', BASIC, JOBLIB, RAY)} |"
        )
    if "hundred" in results:
        lines.append(
            "| trials of a small network per minute |"
            f" {value('hundred', 'default')} | {value('hundred', '1 job')} with `sweep.n_jobs=1` |"
        )
    if "finished" in results:
        lines.append(
            "| the same command on 1,000 finished trials |"
            f" {value('finished', '1,000 trials')} s | |"
        )
    machines = dict.fromkeys(one.machine for one in results.values())
    return ["", *lines, "", f"(Medians; {'; '.join(machines)}.)", ""] if len(lines) > 2 else [""]
