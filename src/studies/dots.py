"""Charts of what came out: cells with their seeds, and claims with their intervals."""

import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from src.studies.cells import Cell, spread
from src.studies.figures import COLOURS, figure, legend
from src.studies.metrics import is_fraction
from src.studies.sweep import Sweep
from src.studies.tables import title
from src.studies.verdicts import CONFIRMED, INCONCLUSIVE, REFUTED, Judged, margin

TONES = {CONFIRMED: COLOURS[2], REFUTED: COLOURS[1], INCONCLUSIVE: "#777777"}


def cells_chart(
    sweep: Sweep, cells: Sequence[Cell], word: str, level: float, folder: Path
) -> tuple[str, str]:
    """Every seed a dot, every cell a mean with its interval; the file and what it shows."""
    rows = [(cell.label, cell.numbers(word)) for cell in cells]
    rows = [(label, values) for label, values in rows if len(values)]
    path = folder / f"cells-{re.sub(r'[^a-z0-9]+', '-', word.lower())}.png"
    scale = 100 if is_fraction(word) else 1
    with figure(path, 0.75 + 0.27 * len(rows)) as page:
        ax = page.subplots()
        for y, (_, values) in enumerate(rows):
            found = spread(values * scale, level)
            if found.n > 1:
                ax.plot([found.low, found.high], [y, y], color=COLOURS[0], linewidth=1.6, zorder=2)
            ax.plot(found.mean, y, "D", color=COLOURS[0], markersize=5, zorder=3)
            ax.plot(
                values * scale, [y + 0.22] * found.n, "o", color="#555555", markersize=3, alpha=0.7
            )
        asked = sweep.about.get("reference") or {}
        limit = asked.get("at_least", asked.get("at_most"))
        if asked.get("metric") == word and limit is not None:
            ax.axvline(limit * scale, color="#999999", linestyle=":", linewidth=1.2)
        ax.set_yticks(range(len(rows)), [textwrap.fill(label, 34) for label, _ in rows])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(title(word))
    dotted = "; dotted: what the reference must reach" * (asked.get("metric") == word)
    return path.name, f"{title(word)}: every seed, their mean and its interval{dotted}."


def claims_chart(judged: Sequence[Judged], folder: Path) -> list[tuple[str, str]]:
    """Every effect with its interval in units of its claim's margin; none when none is tested."""
    tested = [(i, j) for i, j in enumerate(judged, 1) if math.isfinite(j.effect)]
    if not tested:
        return []
    path = folder / "claims.png"
    with figure(path, 0.85 + 0.52 * len(tested)) as page:
        ax = page.subplots()
        for y, (_, one) in enumerate(tested):
            unit = margin(one.claim)
            tone = TONES[one.verdict]
            ax.plot([one.low / unit, one.high / unit], [y, y], color=tone, linewidth=2)
            ax.plot(one.effect / unit, y, "D", color=tone, markersize=6)
            ends = [-1, 1] if one.claim.two_sided else [0, 1]
            for end in ends:
                ax.plot([end, end], [y - 0.42, y + 0.42], color="#222222", linewidth=1.1, zorder=1)
            ax.axhspan(y - 0.42, y + 0.42, color="#f5f5f5", zorder=0)
        names = [
            textwrap.shorten(f"{i}. {one.claim.says}", 96, placeholder="...") for i, one in tested
        ]
        ax.set_yticks(range(len(tested)), [textwrap.fill(name, 34) for name in names])
        ax.set_ylim(len(tested) - 0.4, -0.6)
        ax.grid(visible=False)
        reach = max(abs(v / margin(j.claim)) for _, j in tested for v in (j.low, j.high))
        if math.isfinite(reach) and reach > 20:
            ax.set_xscale("symlog", linthresh=2, linscale=1.5)
        ax.set_xlabel("effect, in margins of its claim")
        for name, tone in TONES.items():
            if any(one.verdict == name for _, one in tested):
                ax.plot([], [], "D-", color=tone, label=name)
        legend(page, ax)
    text = "Effects with their intervals, in margins. Lines: no effect and the smallest of interest"
    return [(path.name, f"{text}; both margins for what should be near.")]
