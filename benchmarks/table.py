"""Measure rows in rounds, save each value, and write all results as one table.

A row has contestants. In each round they are measured one after the other. The figure of a
contestant is its median over the rounds. The ratio of two contestants is the median of the ratios
within a round, since the speed of a machine changes from minute to minute. Each value is saved at
once, so that after an interruption the next call continues.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).with_name("results")


class UnavailableError(Exception):
    """Report that a measurement is not possible on this machine; the message is the reason."""


@dataclass(frozen=True)
class Options:
    """Hold the options of a measurement: `quick` is a smoke test, whose figures mean nothing."""

    quick: bool = False


Measure = Callable[[Options], float | Mapping[str, float]]


@dataclass(frozen=True)
class Goal:
    """Set a bound for one figure of a row.

    Args:
        of: The contestant whose figure has the bound.
        at_least: Lower bound of its speed relative to the contestant `against`.
        against: The contestant to compare with.
        at_most: Upper bound of its value.
    """

    of: str
    at_least: float | None = None
    against: str | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class Row:
    """Define one row of the table.

    Args:
        name: Name of the row for `--only NAME`.
        group: Heading above the row.
        title: Description of the measurement.
        unit: Unit of the values.
        measures: Contestant -> measurement. A measurement of several values returns their names.
        more_is_better: Whether larger values are better.
        goals: Bounds of the figures.
        base: Contestant with which the others are compared.
        rounds: Largest number of rounds, if they take long or always give the same number.
        once: Contestants that take too long for more than one round.
    """

    name: str
    group: str
    title: str
    unit: str
    measures: Mapping[str, Measure]
    more_is_better: bool = False
    goals: Sequence[Goal] = ()
    base: str | None = None
    rounds: int = 9
    once: Sequence[str] = ()


@dataclass
class Result:
    """Hold the measured values of a row, with their commit, machine and date."""

    commit: str
    machine: str
    date: str
    load: float  # load average of the last minute when the row began
    values: dict[str, list[float]] = field(default_factory=dict)  # contestant -> one per round
    unavailable: dict[str, str] = field(default_factory=dict)  # contestant -> reason


def speedup(row: Row, result: Result, of: str, against: str) -> float:
    """Return how many times as fast `of` is as `against`: the median over the rounds."""
    pairs = zip(result.values[of], result.values[against], strict=False)
    return median(a / b if row.more_is_better else b / a for a, b in pairs)


def judge(row: Row, result: Result, goal: Goal) -> tuple[str, bool]:
    """Return the figure of a goal as text, and whether the goal is met.

    Raises:
        LookupError: A contestant of the goal was not measured.
    """
    if goal.against is not None and goal.at_least is not None:
        found = speedup(row, result, goal.of, goal.against)
        return f"{found:.2f}", found >= goal.at_least
    found = median(result.values[goal.of])
    return number(found), found <= (goal.at_most or 0.0)


def number(value: float) -> str:
    """Format a value with three significant digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


class Store:
    """Keep the results of speed.json: one `Result` per row.

    Args:
        folder: Folder of speed.json and speed.md.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "speed.json"
        text = self.path.read_text("utf-8") if self.path.is_file() else "{}"
        self.results = {name: Result(**one) for name, one in json.loads(text).items()}

    def save(self) -> None:
        """Write speed.json; an interruption leaves the old file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {name: vars(one) for name, one in self.results.items()}
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        temporary.replace(self.path)

    def begin(self, row: Row, commit: str, machine: str, load: float) -> Result:
        """Return the saved result of a row, or a new one for another commit or machine."""
        known = self.results.get(row.name)
        if known is None or (known.commit, known.machine) != (commit, machine):
            date = time.strftime("%Y-%m-%d", time.gmtime())
            self.results[row.name] = Result(commit, machine, date, round(load, 2))
        return self.results[row.name]


def measure(row: Row, store: Store, result: Result, rounds: int, options: Options) -> None:
    """Measure the values that are missing for `rounds` rounds of a row; save each value."""
    done: dict[str, int] = {}  # measurement -> number of rounds that are saved
    for round_ in range(min(rounds, row.rounds)):
        for name, function in row.measures.items():
            names = [one for one in result.values if one == name or one.startswith(f"{name}: ")]
            done[name] = max((len(result.values[one]) for one in names), default=0)
            if name in result.unavailable or done[name] > round_ or (name in row.once and round_):
                continue
            try:
                found = function(options)
            except UnavailableError as reason:
                result.unavailable[name] = str(reason)
                store.save()
                continue
            except RuntimeError as error:  # a command failed; the next measurement follows
                print(f"  {row.name} {round_ + 1}: {name} failed: {error}", flush=True)
                continue
            several = found if isinstance(found, Mapping) else {"": found}
            for part, value in several.items():
                key = f"{name}: {part}" if part else name
                result.values.setdefault(key, []).append(float(f"{value:.6g}"))
            store.save()
            print(f"  {row.name} {round_ + 1}: {name} {dict(several)}", flush=True)


def lines_of(row: Row, result: Result) -> list[str]:
    """Return the lines of one row, one per contestant."""
    lines = []
    for name, values in result.values.items():
        spread = "" if len(set(values)) == 1 else f" ({number(min(values))}-{number(max(values))})"
        factor = ""
        if row.base in result.values:
            factor = f"{speedup(row, result, name, str(row.base)):.2f}"
        title = row.title if not lines else ""
        shown = f"{number(median(values))} {row.unit}".strip() + spread
        lines.append(f"| {title} | {name} | {shown} | {factor} | {len(values)} |")
    for name, reason in result.unavailable.items():
        lines.append(f"| {'' if lines else row.title} | {name} | {reason} |  |  |")
    return lines


def goal_lines(rows: Iterable[Row], results: Mapping[str, Result]) -> list[str]:
    """Return the table of the goals."""
    lines = ["| goal | figure | wanted | met |", "|---|---:|---:|---|"]
    for row in rows:
        for goal in row.goals if row.name in results else ():
            wanted = f"at least {goal.at_least:g}" if goal.at_least else f"at most {goal.at_most:g}"
            what = f", {goal.of} against {goal.against}" if goal.against else f", {goal.of}"
            unit = "" if goal.against else f" {row.unit}"
            try:
                figure, met = judge(row, results[row.name], goal)
            except LookupError:
                continue
            verdict = "yes" if met else "**no**"
            lines.append(f"| {row.title}{what} | {figure}{unit} | {wanted}{unit} | {verdict} |")
    return lines


def markdown(rows: Sequence[Row], results: Mapping[str, Result]) -> str:
    """Return the text of speed.md: all rows that have results."""
    known = [row for row in rows if row.name in results]
    lines = ["# Speed", "", "Written by `python -m benchmarks`. Medians over the rounds, with the"]
    lines += ["range; a factor is the median of the ratios within a round.", ""]
    sources: dict[tuple[str, str, str], list[str]] = {}
    for row in known:
        one = results[row.name]
        sources.setdefault((one.date, one.machine, f"commit {one.commit[:12]}"), []).append(
            row.name
        )
    for source, names in sources.items():
        loads = [results[name].load for name in names]  # the benchmark's own processes count too
        load = f"load {min(loads):g} to {max(loads):g} at the beginning of a row"
        lines.append(f"- {', '.join(source)}, {load}: {', '.join(names)}")
    lines += ["", "## Goals", "", *goal_lines(known, results)]
    for group in dict.fromkeys(row.group for row in known):
        lines += ["", f"## {group}", "", "| what | who | median (range) | times as fast | rounds |"]
        lines.append("|---|---|---:|---:|---:|")
        for row in known:
            if row.group == group:
                lines += lines_of(row, results[row.name])
    return "\n".join(lines) + "\n"
