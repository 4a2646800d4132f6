"""Write the reports of sweeps: `alexlab report SWEEP_DIR`.

Writes report.md, report.html, summary.csv, runs.csv, answers.json and plots/ into the folder of the
sweep, and reads only that folder; the sweep may be unfinished. The sweep of a study gets answers
too. A folder of sweeps gets an index of all of them.

    alexlab report RUN_DIR RUN_DIR

compares single runs: the settings that differ, then their metrics. It writes nothing.
"""

import sys
from pathlib import Path

from alexlab.commands.arguments import command_parser
from alexlab.errors import user_errors
from alexlab.studies.compare_runs import comparison, is_run
from alexlab.studies.write_report import check_answers, write_reports


def main() -> None:
    """Run `alexlab report`."""
    parser = command_parser("report", __doc__)
    parser.add_argument(
        "folders", nargs="*", type=Path, metavar="DIR", help="sweeps, a folder of sweeps, or runs"
    )
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="DIR",
        help="copy the reports there, and list the answers there and in README.md; without"
        " SWEEP_DIR only update these lists",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; recompute published answers from runs.csv",
    )
    options = parser.parse_args()
    if not options.folders and options.publish is None:
        parser.error("SWEEP_DIR is missing")
    with user_errors():
        if options.check:
            sys.exit(1 if check_answers(options.folders) else 0)
        if options.folders and all(map(is_run, options.folders)):
            print(comparison(options.folders))
            return
        sys.exit(1 if write_reports(options.folders, options.publish) else 0)
