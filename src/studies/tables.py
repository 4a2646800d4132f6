"""Tables of a sweep's cells, in Markdown and as CSV."""

import csv
import io
import math
from collections.abc import Iterable, Sequence

from src.studies.cells import Cell, spread
from src.studies.metrics import is_fraction, shown
from src.studies.sweep import Sweep

COSTS = {
    "best_epoch": "best epoch",
    "wall_s": "time, s",
    "images_per_s": "images/s",
    "peak_rss_mb": "peak memory, MB",
    "peak_gpu_mb": "peak GPU memory, MB",
}


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers when the second cell is."""
    lines = [list(head), *map(list, rows)]
    numeric = [all(_numeric(line[i]) for line in lines[1:]) for i in range(len(head))]
    rule = ["---:" if right else "---" for right in numeric]
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [escaped[0], rule, *escaped[1:]])


def _numeric(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] in "-+"


def title(word: str) -> str:
    """A metric's name with its unit, for the head of a column or an axis."""
    if word in COSTS:
        return COSTS[word]
    points = word.startswith(("wobble", "gap"))
    return f"{word.replace('/', ' ')}" + (", points" if points else ", %") * is_fraction(word)


def results(cells: Sequence[Cell], words: Sequence[str], level: float) -> str:
    """Mean ± standard deviation and the interval of each word; n is what finished."""
    head = ["", "n", *map(title, words)]
    rows = []
    for cell in cells:
        n = (
            str(len(cell.runs))
            if len(cell.runs) == cell.planned
            else f"{len(cell.runs)} of {cell.planned}"
        )
        rows.append([cell.label, n, *(_mean(cell, word, level) for word in words)])
    return markdown(head, rows)


def _mean(cell: Cell, word: str, level: float) -> str:
    found = spread(cell.numbers(word), level)
    texts = [shown(word, v, unit=False) for v in (found.mean, found.sd, found.low, found.high)]
    if math.isnan(found.sd):
        return texts[0]
    return f"{texts[0]} ± {texts[1]} ({texts[2]} to {texts[3]})"


def costs(cells: Sequence[Cell]) -> str:
    """Means of what the cells took."""
    used = [word for word in COSTS if any(len(cell.numbers(word)) for cell in cells)]
    rows = []
    for cell in cells:
        means = (spread(cell.numbers(word), 0.05).mean for word in used)
        rows.append(
            [cell.label, *(shown(w, m, unit=False) for w, m in zip(used, means, strict=True))]
        )
    return markdown(["", *map(title, used)], rows)


def summary_csv(sweep: Sweep, cells: Sequence[Cell], words: Sequence[str], level: float) -> str:
    """One row a cell: its axes, runs finished and planned, and five numbers a metric."""
    text = io.StringIO()
    words = [*words, *COSTS]
    parts = ["n", "mean", "sd", "low", "high"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [*sweep.axes, "finished", "planned", *(f"{w} {p}" for w in words for p in parts)]
    )
    for cell in cells:
        found = [spread(cell.numbers(word), level) for word in words]
        numbers = [getattr(f, part) for f in found for part in parts]
        shown_ = ["" if math.isnan(v) else f"{v:.6g}" for v in numbers]
        writer.writerow([*cell.values.values(), len(cell.runs), cell.planned, *shown_])
    return text.getvalue()


def best_trials(sweep: Sweep, count: int = 10) -> str:
    """The best finished trials of a search, with their settings."""
    sign = -1 if sweep.facts["directions"][0] == "maximize" else 1
    ranked = sorted(sweep.done, key=lambda run: (sign * float(run.objective), run.number))[:count]
    objective = str(sweep.facts["config"]["objective"])
    head = ["trial", title(objective), f"test {sweep.metric}", *sweep.axes]
    rows = [
        [
            str(run.number),
            shown(objective, float(run.objective), unit=False),
            shown(
                objective, run.record["metrics"].get(f"test/{sweep.metric}", math.nan), unit=False
            ),
            *(
                f"{float(v):.3g}" if _numeric(v) else v
                for v in map(str, (run.values[a] for a in sweep.axes))
            ),
        ]
        for run in ranked
    ]
    return markdown(head, rows)
