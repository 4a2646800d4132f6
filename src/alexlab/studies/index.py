"""Write the index of all sweeps in a folder, including those that run or have no report."""

import io
import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from alexlab.reporting.html import html_page
from alexlab.reporting.markdown import escape, markdown
from alexlab.runs.folder import write_atomically
from alexlab.runs.sweeps import ENDED, sweeps_below, trials
from alexlab.studies import statistics as st
from alexlab.studies.answers_json import ANSWERS
from hydra_plugins.hydra_study_sweeper.sweep_folder import TRIALS, is_in_use

PICTURES = ("answers.png", "search.png", "conditions-*.png", "curves*.png")  # by preference
WIDTH = 300  # pixels of a thumbnail


def write_index(root: Path) -> Path:
    """Write index.html of the sweeps below `root`, the newest first."""
    write_atomically(root / "index.html", index_page(root))
    return root / "index.html"


def index_page(root: Path) -> str:
    """Return the index of the sweeps below `root` as one HTML page."""
    sweeps = [one for one in sweeps_below(root) if one != root]
    sweeps.sort(key=lambda sweep: (-(sweep / TRIALS).stat().st_mtime, sweep.name))
    thumbnails: dict[str, bytes] = {}
    rows = [_row(sweep, thumbnails) for sweep in sweeps]
    head = ["", "sweep", "state", "answers", "trials", "last change"]
    text = f"# Sweeps\n\n{markdown(head, rows)}\n" if rows else "# Sweeps\n\nThere are none yet.\n"
    return html_page(text, root, thumbnails=thumbnails, filtered=True)


def _row(sweep: Path, thumbnails: dict[str, bytes]) -> list[str]:
    place = quote(sweep.name)
    when = datetime.fromtimestamp((sweep / TRIALS).stat().st_mtime).strftime("%Y-%m-%d %H:%M")
    has_page = (sweep / "report.html").exists()
    link = f"{place}/report.html" if has_page else f"{place}/"
    try:
        facts: Mapping[str, Any] = {}
        if (sweep / ANSWERS).exists():
            facts = json.loads((sweep / ANSWERS).read_text("utf-8"))
        question = str(facts.get("question") or sweep.name)
        name = f"[{escape(question)}]({link})"
        said = _answers(facts)
        rows = trials(sweep)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ["", f"[{escape(sweep.name)}]({link})", "cannot be read", "", "", when]
    name += f" {escape(sweep.name)}" * (sweep.name not in question.split())
    picture = ""
    if image := _thumbnail(sweep):
        picture = f"![]({place}.png)"
        thumbnails[f"{place}.png"] = image
    ended = sum(row["state"] in ENDED for row in rows)
    count = f"{ended} of {len(rows)}" if ended < len(rows) else str(len(rows))
    return [picture, name, _state(sweep, rows), said, count, when]


def _state(sweep: Path, rows: list[dict[str, str]]) -> str:
    """Return running, finished or stopped, with the number of trials that failed."""
    states = Counter(row["state"] for row in rows)
    if states["running"] or is_in_use(sweep):
        state = "running"
    else:
        state = "finished" if sum(states[name] for name in ENDED) == len(rows) else "stopped"
    return state + f", {states['failed']} failed" * bool(states["failed"])


def _answers(facts: Mapping[str, Any]) -> str:
    said = []
    for answer in st.ANSWERS:
        claims = [one["claim"] for one in facts.get("claims", []) if one["answer"] == answer]
        if claims:
            said.append(f"**{answer}**: {escape('; '.join(claims))}.")
    return " ".join(said)


def _thumbnail(sweep: Path) -> bytes | None:
    plots = sweep / "plots"
    found = [path for pattern in PICTURES for path in sorted(plots.glob(pattern))]
    if not found or found[0].is_symlink() or plots.is_symlink():
        return None
    try:
        with Image.open(found[0]) as image:
            small = image.convert("RGB")
            small.thumbnail((WIDTH, WIDTH))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    file = io.BytesIO()
    small.quantize(64, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()
