"""Measure speed, from a step to a study, and write one table: `python -m benchmarks`.

Each value is saved at once in results/speed.json: after an interruption the same command continues.
Rows that need the Pokémon images read them from DATA_DIR. On two free cores all rows take about
half an hour. `--publish` measures nothing: it writes the saved figures into README.md and
docs/speed.md.
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
    """Return all rows in the order of measurement; the sweeps are last."""
    quick = [*commands.rows(), *trainings.rows(), *memory.rows(), *scale.rows()]
    return [*quick, *sweeps.rows()]


def machine() -> str:
    """Describe this machine: CPU, number of CPUs, versions of torch and Python."""
    import torch

    from alexlab.runs.provenance import hardware

    name = hardware(torch.device("cpu")).rpartition(",")[0]
    return f"{name}, {CPUS} CPUs, torch {torch.__version__}, Python {platform.python_version()}"


def selected(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Return the rows whose names start with one of `names`; without `names` all rows.

    Raises:
        ValueError: A name in `names` matches no row.
    """
    for name in names:
        if not any(row.name.startswith(name) for row in rows):
            known = ", ".join(row.name for row in rows)
            raise ValueError(f"--only {name}: no such row; choose from {known}")
    return [row for row in rows if not names or row.name.startswith(tuple(names))]


def main() -> None:
    """Run `python -m benchmarks`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help="names of rows, or the start of names",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="try the rows; figures mean nothing")
    parser.add_argument("--again", action="store_true", help="replace the saved values")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--publish", action="store_true", help="write the saved figures to pages")
    parser.add_argument("--out", type=Path, help="folder of the results")
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
    """Measure rows, and write speed.md after each row."""
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
