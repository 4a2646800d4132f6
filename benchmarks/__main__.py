"""Measure speed, from a step to a study, and write one table: `python -m benchmarks`.

Each value is saved at once in results/speed.json, so the same command goes on where it was cut off.
Rows that need the Pokémon images read them from DATA_DIR. On two free cores all rows take about
half an hour. `--publish` writes nothing but the figures in the pages, from the results that exist.
"""

import argparse
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import commands, memory, pages, scale, sweeps, trainings
from benchmarks.process import CPUS
from benchmarks.table import RESULTS, Options, Row, Store, markdown, measure


def all_rows() -> list[Row]:
    """Return the rows in the order in which they are measured: those of minutes are last."""
    quick = [*commands.rows(), *trainings.rows(), *memory.rows(), *scale.rows()]
    return [*quick, *sweeps.rows()]


def machine() -> str:
    """Describe this machine: its CPU and what is installed."""
    import torch

    from alexlab.runs.provenance import hardware

    name = hardware(torch.device("cpu")).rpartition(",")[0]
    return f"{name}, {CPUS} CPUs, torch {torch.__version__}, Python {platform.python_version()}"


def selected(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Return the rows that `names` select: names, or beginnings of names.

    Raises:
        ValueError: A name selects nothing.
    """
    for name in names:
        if not any(row.name.startswith(name) for row in rows):
            known = ", ".join(row.name for row in rows)
            raise ValueError(f"--only {name}: no such row; choose from {known}")
    return [row for row in rows if not names or row.name.startswith(tuple(names))]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="rows, or beginnings")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a smoke test, without results")
    parser.add_argument("--again", action="store_true", help="drop the values that these rows have")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--publish", action="store_true", help="write the figures of the pages")
    parser.add_argument("--out", type=Path, help="where results are written")
    args = parser.parse_args()
    try:
        rows = selected(all_rows(), args.only)
    except ValueError as error:
        parser.error(str(error))
    if args.list:
        print(*(f"{row.name:<36} {row.group}: {row.title}" for row in rows), sep="\n")
        return
    if args.publish:
        pages.publish(Store(args.out or RESULTS).results)
        return
    folder = args.out or (Path(tempfile.mkdtemp()) if args.quick else RESULTS)
    measure_all(rows, folder, 1 if args.quick else args.rounds, args.quick, args.again)
    print(f"written: {folder / 'speed.md'}")


def measure_all(rows: Sequence[Row], folder: Path, rounds: int, quick: bool, again: bool) -> None:
    """Measure rows, and write the table after each."""
    from alexlab.runs.provenance import git_commit

    store, commit, here = Store(folder), git_commit() or "unknown", machine()
    for row in rows:
        if again:
            store.results.pop(row.name, None)
        result = store.begin(row, commit, here, os.getloadavg()[0])
        measure(row, store, result, rounds, Options(quick))
        (folder / "speed.md").write_text(markdown(all_rows(), store.results), "utf-8")


if __name__ == "__main__":
    main()
