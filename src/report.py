"""Reports of sweeps: `python -m src.report SWEEP_DIR`, with verdicts when the sweep is a study's.

Writes report.md, report.html, summary.csv, verdicts.json and plots/ into the sweep's folder, from
nothing but what is there; finished or not. A folder of sweeps gets an index of all of them.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from src.run_folder import write_atomically

if TYPE_CHECKING:
    from src.studies.sweep import Sweep


def write(folder: Path) -> "Sweep":
    """Write the report of the sweep in `folder`.

    Raises:
        FileNotFoundError: It is no sweep.
        ValueError: Its runs cannot be compared, or its study makes no sense.
    """
    from src.studies import curves, dots, html, index, page, sweep, tables, verdicts
    from src.studies.cells import all_words, cells
    from src.studies.search import search_chart

    read = sweep.load(folder)
    level = float(read.about.get("level", 0.05))
    judged = verdicts.judge(read)
    plots = folder / "plots"
    found = cells(read)
    words = all_words(read, [word for one in judged for word in one.claim.words])
    figures: dict[str, list[tuple[str, str]]] = {}
    if read.facts.get("search"):
        figures["Results"] = search_chart(read, plots)
    elif any(cell.runs for cell in found):
        figures["Verdicts"] = dots.claims_chart(judged, plots)
        figures["Results"] = [
            dots.cells_chart(read, found, word, level, plots)
            for word in words
            if word == words[0] or any(word in one.claim.words for one in judged)
        ]
        figures["Learning curves"] = curves.learning_curves(read, found, plots)
        figures["Inside the layers"] = curves.diagnostics(read, found, plots)
    text = page.report(read, found, judged, figures, level)
    write_atomically(folder / "report.md", text)
    write_atomically(folder / "report.html", html.page(text, folder))
    write_atomically(
        folder / "summary.csv", page.portable(tables.summary_csv(read, found, words, level))
    )
    facts = json.dumps(index.facts(read, judged), indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / index.FACTS, page.portable(facts))
    return read


def after_sweep(folder: Path) -> None:
    """Write the report when a sweep ends, and say where; a sweep never fails for its report."""
    try:
        write(folder)
    except Exception as error:  # whatever it is, the runs are there, and the command says it again
        print(f"no report: {error}")
    else:
        print(f"report: {os.path.relpath(folder / 'report.html')}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m src.report",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, help="sweeps, or a folder of sweeps")
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="DIR",
        help="copy the reports there, and list them in README.md",
    )
    options = parser.parse_args()
    try:
        failed = act(options.folders, options.publish)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    sys.exit(1 if failed else 0)


def act(folders: list[Path], target: Path | None) -> int:
    """Report on `folders`; publish to `target` if there is one.

    Returns:
        How many sweeps of a folder of sweeps could have no report.
    """
    from src.studies import index

    sweeps, failed = [], 0
    for folder in folders:
        below = sorted(path.parent for path in folder.glob("*/sweep.yaml"))
        for one in below or [folder]:
            try:
                sweeps.append(write(one))
            except (ValueError, OSError) as error:
                if not below:
                    raise
                failed += 1
                print(f"error: {one}: {error}", file=sys.stderr)
            else:
                print(f"report: {one / 'report.html'}")
        if below:
            print(f"index: {index.write_index(folder, index.read(below))}")
    if target is not None:
        index.publish(sweeps, target, Path("README.md"), Path("conf/study"))
        print(f"published: {target / 'README.md'}")
    return failed


if __name__ == "__main__":
    main()
