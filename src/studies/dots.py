"""Charts of what came out: cells with their seeds, and claims with their intervals."""

import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from src.studies.cells import Cell
from src.studies.figures import COLOURS, figure, legend
from src.studies.metrics import is_fraction
from src.studies.sweep import Sweep
from src.studies.tables import title
from src.studies.verdicts import CONFIRMED, INCONCLUSIVE, REFUTED, Judged

TONES = {CONFIRMED: COLOURS[2], REFUTED: COLOURS[1], INCONCLUSIVE: "#777777"}


def cells_chart(sweep: Sweep, cells: Sequence[Cell], word: str, folder: Path) -> tuple[str, str]:
    """Every seed a dot, every cell a mean with its interval; the file and what it shows."""
    rows = [cell for cell in cells if len(cell.numbers(word))]
    path = folder / f"cells-{re.sub(r'[^a-z0-9]+', '-', word.lower())}.png"
    scale = 100 if is_fraction(word) else 1
    with figure(path, 0.75 + 0.27 * len(rows)) as page:
        ax = page.subplots()
        for y, cell in enumerate(rows):
            n, mean, _, low, high = cell.spread(word)
            if n > 1:
                ends = [low * scale, high * scale]
                ax.plot(ends, [y, y], color=COLOURS[0], linewidth=1.6, zorder=2)
            ax.plot(mean * scale, y, "D", color=COLOURS[0], markersize=5, zorder=3)
            seeds = cell.numbers(word) * scale
            ax.plot(seeds, [y + 0.22] * n, "o", color="#555555", markersize=3, alpha=0.7)
        asked = sweep.about.get("reference") or {}
        limit = asked.get("at_least", asked.get("at_most"))
        if dotted := asked.get("metric") == word and limit is not None:
            ax.axvline(limit * scale, color="#999999", linestyle=":", linewidth=1.2)
        ax.set_yticks(range(len(rows)), [textwrap.fill(cell.label, 34) for cell in rows])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(title(word))
    reference = "; dotted: what the reference must reach" * dotted
    return path.name, f"{title(word)}: every seed, their mean and its interval{reference}."


def claims_chart(judged: Sequence[Judged], folder: Path) -> list[tuple[str, str]]:
    """Every effect with its interval in units of its claim's margin; none when none is tested."""
    tested = [(i, j) for i, j in enumerate(judged, 1) if math.isfinite(j.effect)]
    if not tested:
        return []
    with figure(folder / "claims.png", 0.85 + 0.52 * len(tested)) as page:
        ax = page.subplots()
        reach, names = 0.0, []
        for y, (i, one) in enumerate(tested):
            low, effect, high = (v / one.claim.least for v in (one.low, one.effect, one.high))
            reach = max(reach, abs(low), abs(high))
            tone = TONES[one.verdict]
            ax.plot([low, high], [y, y], color=tone, linewidth=2)
            ax.plot(effect, y, "D", color=tone, markersize=6)
            for end in [-1, 1] if one.claim.two_sided else [0, 1]:
                ax.plot([end, end], [y - 0.42, y + 0.42], color="#222222", linewidth=1.1, zorder=1)
            ax.axhspan(y - 0.42, y + 0.42, color="#f5f5f5", zorder=0)
            name = textwrap.shorten(f"{i}. {one.claim.says}", 96, placeholder="...")
            names.append(textwrap.fill(name, 34))
        ax.set_yticks(range(len(tested)), names)
        ax.set_ylim(len(tested) - 0.4, -0.6)
        ax.grid(visible=False)
        if reach > 20:
            ax.set_xscale("symlog", linthresh=2, linscale=1.5)
        ax.set_xlabel("effect, in margins of its claim")
        for name, tone in TONES.items():
            if any(one.verdict == name for _, one in tested):
                ax.plot([], [], "D-", color=tone, label=name)
        legend(page, ax)
    text = "Effects with their intervals, in margins. Lines: no effect and the smallest of interest"
    return [("claims.png", f"{text}; both margins for what should be near.")]
