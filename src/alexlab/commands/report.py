"""Reports of sweeps: `alexlab report SWEEP_DIR`, with verdicts when the sweep is a study's.

Writes report.md, report.html, summary.csv, verdicts.json and plots/ into the sweep's folder, from
nothing but what is there; finished or not. A folder of sweeps gets an index of all of them.
What draws and tests is imported late: `--help` answers at once, and no sweep fails for it.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alexlab.errors import user_errors
from alexlab.runs.folder import write_atomically

if TYPE_CHECKING:
    from alexlab.studies.results import Sweep


def write(folder: Path) -> "Sweep":
    """Write the report of the sweep in `folder`.

    Raises:
        FileNotFoundError: It is no sweep.
        ValueError: Its runs cannot be compared, or its study makes no sense.
    """
    from alexlab.reporting import html
    from alexlab.studies import plots, publish, report, tables, verdicts
    from alexlab.studies.conditions import conditions
    from alexlab.studies.results import load

    sweep = load(folder)
    judged = verdicts.evaluate_claims(sweep)
    found = conditions(sweep)
    plots_dir = folder / "plots"
    claimed = [word for one in judged for word in one.claim.words]
    recorded = dict.fromkeys(name for run in sweep.done for name in run.record["metrics"])
    views = [name for name in recorded if name.startswith(f"test/{sweep.metric}_")]  # several crops
    words = list(dict.fromkeys([*sweep.words, *views, *claimed]))
    figures: dict[str, list[tuple[str, str]]] = {}
    if sweep.facts.get("search"):
        figures["Results"] = plots.search_chart(sweep, plots_dir)
    elif sweep.done:
        drawn = [word for word in words if word == words[0] or word in claimed]
        figures["Verdicts"] = plots.claims_chart(judged, plots_dir)
        figures["Results"] = [plots.cells_chart(sweep, found, word, plots_dir) for word in drawn]
        figures["Learning curves"] = plots.learning_curves(sweep, found, plots_dir)
        figures["Inside the layers"] = plots.diagnostics(found, plots_dir)
    text = report.report(sweep, found, judged, figures)
    summary = tables.summary_csv(sweep, found, words)
    facts = json.dumps(publish.facts(sweep, judged), indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / "report.md", text)
    write_atomically(folder / "report.html", html.html_page(text, folder))
    write_atomically(folder / "summary.csv", report.portable(summary))
    write_atomically(folder / publish.FACTS, report.portable(facts))
    return sweep


def after_sweep(folder: Path) -> None:
    """Write the report when a sweep ends, and say where; a sweep never fails for its report."""
    try:
        write(folder)
    except Exception as error:  # whatever it is, the runs are there, and the command says it again
        print(f"no report: {error}")
    else:
        print(f"report: {os.path.relpath(folder / 'report.html')}")


def act(folders: list[Path], target: Path | None) -> int:
    """Report on `folders`; publish to `target` if there is one.

    Returns:
        How many sweeps of a folder of sweeps could have no report.
    """
    from alexlab.studies import publish

    sweeps, failed = [], 0
    for folder in folders:
        below = sorted(path.parent for path in folder.glob("*/sweep.yaml"))
        for one in below or [folder]:
            try:
                sweeps.append(write(one))
                print(f"report: {one / 'report.html'}")
            except (ValueError, OSError) as error:
                if not below:
                    raise
                failed += 1
                print(f"error: {one}: {error}", file=sys.stderr)
        if below:
            print(f"index: {publish.write_index(folder)}")
    if target is not None:
        publish.publish(sweeps, target, Path("README.md"), Path("conf/study"))
        print(f"published: {target / 'README.md'}")
    return failed


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="alexlab report",
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
    with user_errors():
        sys.exit(1 if act(options.folders, options.publish) else 0)


if __name__ == "__main__":
    main()
