"""What a sweep shows: the plan before it starts, a live table, the end."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hydra_plugins.hydra_study_sweeper._jobs import Flight
from hydra_plugins.hydra_study_sweeper._trials import ENDED, Record, TrialsCsv
from hydra_plugins.hydra_study_sweeper.run_folder import as_floats


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def wide_console() -> Console:
    """A console that does not fold what goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


SHOWN = 40  # rows of a table that a person still reads


class Board:
    """The records of a sweep in `folder`, as people see them.

    Args:
        folder: The sweep's folder.
        keys: The axes.
        directions: `minimize` or `maximize`, one for each objective.
    """

    def __init__(self, folder: Path, keys: Sequence[str], directions: Sequence[str]) -> None:
        self.folder, self.directions = folder, directions
        self.jobs = 1  # runs in flight at a time
        self.console = wide_console()
        self.csv = TrialsCsv(folder, keys, len(directions))
        self.records: dict[int, Record] = {}
        self._states: Counter[str] = Counter()
        self._known: dict[int, str] = {}
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._drawn = 0.0

    def update(self, changed: Iterable[Record]) -> None:
        """Take in what has changed, and keep trials.csv true."""
        dirty = False
        for record in changed:
            dirty = self.csv.take_in(record) or dirty
            self.records[record.number] = record
            self._states[self._known.get(record.number, "")] -= 1
            self._known[record.number] = record.state
            self._states[record.state] += 1
        if dirty:
            self.csv.write()

    def plan(self, to_run: int, disk: int | None) -> str:
        """What a sweep is about to do, in one line or two."""
        states = " ".join(f"{n} {state}" for state, n in sorted(self.counts().items()))
        walls = self._walls()
        seconds = median(walls) * to_run / self.jobs if walls else None
        took = f"about {duration(seconds)}" if seconds is not None else "unknown until one has run"
        space = f"about {disk / 1e9:.2g} GB" if disk is not None else "unknown until one has run"
        cells = f"{len(self.records)} cells ({states}), {to_run} to run, {self.jobs} at a time"
        return f"{os.path.relpath(self.folder)}: {cells}\ntime: {took}, disk: {space}"

    def counts(self) -> dict[str, int]:
        """How many records are in each state."""
        return {state: n for state, n in self._states.items() if n > 0}

    def _walls(self) -> list[float]:
        results = (record.result for record in self.records.values())
        return [r["wall_s"] for r in results if r.get("status") == "finished" and r.get("wall_s")]

    def ranking(self, among: Iterable[Record]) -> list[Record]:
        """The finished ones of them, the best first, of a sweep with one objective."""
        return sorted((r for r in among if r.state == "finished"), key=self._badness)

    def best(self) -> Record | None:
        """The finished record with the best objective, of a sweep with one objective."""
        done = [record for record in self.records.values() if record.state == "finished"]
        return min(done, key=self._badness, default=None) if len(self.directions) == 1 else None

    def _badness(self, record: Record) -> tuple[float, int]:
        value = (as_floats(record.result.get("objective")) or [0.0])[0]
        return (-value if self.directions[0] == "maximize" else value), record.number

    def start(self) -> None:
        """Begin the live table, on a terminal."""
        if self.console.is_terminal:
            self._live.start()

    def stop(self) -> None:
        """End it."""
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the live table."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def ended(self, record: Record) -> None:
        """Say how a run ended, where there is no live table."""
        if not self.console.is_terminal:
            counts = self.counts()
            done = sum(counts.get(status, 0) for status in ENDED)
            self.say(f"[{done}/{len(self.records)}] {record.state} {record.folder} {tail(record)}")

    def draw(self, to_run: int, flights: Iterable[Flight]) -> None:
        """Redraw the live table, at most four times a second."""
        if self._live.is_started and time.monotonic() - self._drawn > 0.25:
            self._drawn = time.monotonic()
            self._live.update(self._now(to_run, flights), refresh=True)

    def _now(self, to_run: int, flights: Iterable[Flight]) -> Group:
        counts, walls, best = self.counts(), self._walls(), self.best()
        left = duration(median(walls) * to_run / self.jobs) if walls else "unknown"
        title = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
        head = Text(f"{self.folder.name}: {title}, time left {left}", overflow="ellipsis")
        table = Table(box=None, pad_edge=False)
        for column in ("run", "since"):
            table.add_column(column)
        for flight in list(flights)[:SHOWN]:
            table.add_row(flight.record.folder, duration(time.monotonic() - flight.began))
        if best is not None:
            head.append(f"\nbest so far: {best.result['objective']:.5g} of {best.folder}")
        return Group(head, table)

    def summary(self) -> None:
        """The final table: the best, and all that failed."""
        sign = -1 if self.directions[0] == "maximize" else 1

        def order(record: Record) -> tuple[bool, float]:
            value = as_floats(record.result.get("objective"))
            return (value is None, sign * value[0] if value else record.number)

        rows = sorted(self.records.values(), key=order)
        failed = [r for r in rows if r.state == "failed"]
        shown = rows if len(rows) <= SHOWN else rows[:10] + failed[: SHOWN - 10]
        table = Table(box=None, pad_edge=False)
        for column in ("run", "state", "objective", "time", "error"):
            table.add_column(column, overflow="fold")
        for r in shown:
            wall = r.result.get("wall_s")
            error = str(r.result.get("error") or "")
            value = " ".join(f"{v:.5g}" for v in as_floats(r.result.get("objective")) or [])
            table.add_row(r.folder, r.state, value, duration(wall) if wall else "", error)
        self.console.print(table)
        if len(shown) < len(rows):
            self.say(f"... and {len(rows) - len(shown)} more in {self.csv.path}")


def tail(record: Record) -> str:
    """What is worth saying of a run that has ended: its error, or its objective and time."""
    result = record.result
    if record.state not in ("finished", "pruned"):
        return str(result.get("error") or "")
    value = " ".join(f"{v:.5g}" for v in as_floats(result.get("objective")) or [])
    return f"{value} in {duration(result.get('wall_s') or 0.0)}"
