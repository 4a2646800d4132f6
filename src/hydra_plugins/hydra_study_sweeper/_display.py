"""Report the progress of a sweep: the plan, a live table, the final table."""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console, Group
from rich.live import Live
from rich.style import Style
from rich.table import Table
from rich.text import Text

from hydra_plugins.hydra_study_sweeper._jobs import Job
from hydra_plugins.hydra_study_sweeper._trials import ENDED, Trial, TrialsCsv

MAX_ROWS = 40  # of a table that a person still reads


def format_duration(seconds: float) -> str:
    """Write seconds as a person would: 3.2 s, 45 s, 12 min, 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def format_needs(seconds: float | None, disk: float | None, how: str = "") -> str:
    """Write the time and the disk that a sweep needs; `how` tells what the time is based on."""
    unknown = "unknown until one has run"
    time_ = f"about {format_duration(seconds)}{how}" if seconds is not None else unknown
    space = f"about {disk / 1e9:.2g} GB" if disk is not None else unknown
    return f"time: {time_}, disk: {space}"


def format_number(name: str, value: float) -> str:
    """Write the objective `name` with five digits, where the app has no rule of its own."""
    return f"{value:.5g}"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Print nothing more after the reader has gone, as with `| head`; the sweep goes on."""
        self.quiet = True
        with open(os.devnull, "w") as nowhere:  # else Python fails at exit
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


class ProgressReporter:
    """Prints the states of a sweep's trials, and writes trials.csv.

    Args:
        folder: The sweep's folder.
        keys: The axes.
        directions: `minimize` or `maximize`, one per objective.
        names: The objectives' names; default: `objective`.
        format_value: Function(name of an objective, value) -> text.
        progress: Function(folder of a run) -> how far it is, as text; None if the app has none.
        writes: Whether to write trials.csv.
    """

    def __init__(
        self,
        folder: Path,
        keys: Sequence[str],
        directions: Sequence[str],
        *,
        names: Sequence[str] = (),
        format_value: Callable[[str, float], str] = format_number,
        progress: Callable[[Path], str] | None = None,
        writes: bool = True,
    ) -> None:
        self.writes, self.progress = writes, progress
        self.folder, self.directions = folder, directions
        self.names = [*names, *["objective"] * len(directions)][: len(directions)]
        self.format_value = format_value
        self.n_jobs = 1  # trials at a time
        self.estimated_s: float | None = None  # of a trial, until one has finished
        console = _Console()
        self.console = console if console.is_terminal else _Console(width=200)  # files: no folding
        self.csv = TrialsCsv(folder, keys, len(directions))
        self.trials: dict[int, Trial] = {}
        self._counts: Counter[str] = Counter()
        self._statuses: dict[int, str] = {}
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._refreshed = 0.0

    def update(self, changed: Iterable[Trial]) -> None:
        """Take in the trials that have changed, and write trials.csv if a row of it has."""
        dirty = False
        for trial in changed:
            dirty = self.csv.update(trial) or dirty
            self.trials[trial.number] = trial
            # a new trial has the status "" before, whose negative count `counts` leaves out
            self._counts[self._statuses.get(trial.number, "")] -= 1
            self._statuses[trial.number] = trial.status
            self._counts[trial.status] += 1
        if dirty and self.writes:
            self.csv.write()

    def format_plan(self, to_run: int, disk: int | None, *, new: int = 0) -> str:
        """Return two lines: how many trials are to run, and the time and disk that they need.

        Args:
            to_run: How many trials are to run.
            disk: How many bytes they need; None if that is unknown.
            new: How many pending trials the storage does not have yet.
        """
        counts = sorted((Counter(self.counts()) + Counter(pending=new)).items())
        states = f" ({' '.join(f'{n} {status}' for status, n in counts)})" * bool(counts)
        number = len(self.trials) + new
        trials = f"{number} trials{states}, {to_run} to run, {self.n_jobs} at a time"
        how = "" if self._wall_times() or not to_run else " (a rough estimate)"
        needs = format_needs(self._seconds_left(to_run), disk, how)
        return f"{os.path.relpath(self.folder)}: {trials}\n{needs}"

    def _seconds_left(self, to_run: int) -> float | None:
        """Estimate the seconds for `to_run` trials: as finished ones took, or as the app says."""
        times = self._wall_times()
        each = median(times) if times else self.estimated_s
        return None if each is None else each * to_run / self.n_jobs

    def counts(self) -> dict[str, int]:
        """Return how many trials have each status."""
        return {status: n for status, n in self._counts.items() if n > 0}

    def _wall_times(self) -> list[float]:
        """Return the seconds that each finished trial took."""
        results = (trial.result for trial in self.trials.values())
        return [r["wall_s"] for r in results if r.get("status") == "finished" and r.get("wall_s")]

    def ranking(self, trials: Iterable[Trial]) -> list[Trial]:
        """Return the finished ones of `trials`, the best first; for one objective only."""
        return sorted((t for t in trials if _has_objective(t)), key=self._order)

    def best(self) -> Trial | None:
        """Return the finished trial with the best objective; None if there are several."""
        finished = [trial for trial in self.trials.values() if _has_objective(trial)]
        return min(finished, key=self._order, default=None) if len(self.directions) == 1 else None

    def _order(self, trial: Trial) -> tuple[float, int]:
        """Return a trial's sort key: the best objective first, equal ones by their number."""
        value = (trial.objectives or [0.0])[0]
        return (-value if self.directions[0] == "maximize" else value), trial.number

    def start(self) -> None:
        """Start the live table, on a terminal."""
        if self.console.is_terminal:
            self._live.start()

    def stop(self) -> None:
        """Stop the live table."""
        self._live.stop()

    def log(self, text: str) -> None:
        """Print a line above the live table; the sweep's folder at its start becomes a link."""
        line, name = Text(text), os.path.relpath(self.folder)
        if text.startswith(f"{name}:"):
            line.stylize(_link(self.folder), 0, len(name))
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def log_end(self, trial: Trial) -> None:
        """Print how a trial ended, if there is no live table."""
        if not self.console.is_terminal:
            counts = self.counts()
            done = sum(counts.get(status, 0) for status in ENDED)
            result = self._format_result(trial)
            self.log(f"[{done}/{len(self.trials)}] {trial.status} {trial.folder} {result}")

    def refresh(self, to_run: int, jobs: Iterable[Job]) -> None:
        """Redraw the live table, at most four times per second."""
        if self._live.is_started and time.monotonic() - self._refreshed > 0.25:
            self._refreshed = time.monotonic()
            self._live.update(self._render(to_run, jobs), refresh=True)

    def _render(self, to_run: int, jobs: Iterable[Job]) -> Group:
        """Return the live table: the counts, the time left, the running trials."""
        seconds, best = self._seconds_left(to_run), self.best()
        left = format_duration(seconds) if seconds is not None else "unknown"
        counts = ", ".join(f"{n} {status}" for status, n in sorted(self.counts().items()))
        head = Text(f"{self.folder.name}: {counts}, time left {left}", overflow="ellipsis")
        table = Table(box=None, pad_edge=False)
        table.add_column("trial", no_wrap=True)
        for column in ("for", "progress") if self.progress else ("for",):
            table.add_column(column, no_wrap=True)
        for job in list(jobs)[:MAX_ROWS]:
            folder = self.folder / job.trial.folder
            cells = [format_duration(time.monotonic() - job.started)]
            if self.progress is not None:
                cells.append(self.progress(folder))
            table.add_row(Text(job.trial.folder, _link(folder)), *map(Text, cells))
        if best is not None:
            head.append(f"\nbest so far: {self._objectives(best)} of {best.folder}")
        return Group(head, table)

    def print_summary(self) -> None:
        """Print the final table, by the first objective: all trials, or ten and the failed."""
        trials = sorted(self.trials.values(), key=lambda t: (t.objectives is None, *self._order(t)))
        failed = [trial for trial in trials if trial.status == "failed"]
        shown = trials if len(trials) <= MAX_ROWS else trials[:10] + failed[: MAX_ROWS - 10]
        table = Table(box=None, pad_edge=False)
        for column in ("trial", "status", ", ".join(self.names), "time", "error"):
            table.add_column(column, overflow="fold")
        for trial in shown:
            wall = trial.result.get("wall_s")
            error = Text(str(trial.result.get("error") or ""))
            time_ = format_duration(wall) if wall else ""
            name = Text(trial.folder, _link(self.folder / trial.folder))
            table.add_row(name, trial.status, Text(self._objectives(trial)), time_, error)
        self.console.print(table)
        if len(shown) < len(trials):
            self.log(f"... and {len(trials) - len(shown)} more in {self.csv.path}")

    def _format_result(self, trial: Trial) -> str:
        """Return the error of an ended trial, or its objective and time."""
        result = trial.result
        if trial.status not in ("finished", "pruned"):
            return str(result.get("error") or "")
        wall = format_duration(result.get("wall_s") or 0.0)
        return f"{', '.join(self.names)} {self._objectives(trial)} in {wall}"

    def _objectives(self, trial: Trial) -> str:
        """Return a trial's objectives as text."""
        return " ".join(map(self.format_value, self.names, trial.objectives or []))


def _link(path: Path) -> Style:
    """Return the style of a text that opens `path` when clicked, in terminals with links."""
    return Style(link=path.absolute().as_uri())


def _has_objective(trial: Trial) -> bool:
    """Return whether a trial has finished with an objective: an app need not return one."""
    return trial.status == "finished" and trial.objectives is not None
