"""Write the reports of sweeps, at the end of a sweep and for `alexlab report`.

The modules for plots and statistics are imported late, so that a sweep ends without a report if
they cannot be imported.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from alexlab.errors import format_error
from alexlab.reporting.console import path_link
from alexlab.runs.folder import write_atomically
from alexlab.studies import report_state

if TYPE_CHECKING:
    from alexlab.studies.answers import ClaimAnswer
    from alexlab.studies.results import Sweep


def write_report(folder: Path) -> "Sweep":
    """Write the report of the sweep in `folder`.

    Writes report.md, report.html, summary.csv, runs.csv, answers.json and plots/.

    Raises:
        FileNotFoundError: The folder is not a sweep.
        ValueError: Its runs cannot be compared, or its study is not valid.
    """
    return _write(folder)[0]


def _write(folder: Path) -> "tuple[Sweep, list[ClaimAnswer]]":
    """Write the report as `write_report` does; return the sweep and its answers."""
    from alexlab.studies.results import load

    sweep = load(folder)

    from alexlab.reporting import html
    from alexlab.reporting.markdown import only_own_images
    from alexlab.studies import answers_json, chart_data, plots, report, tables
    from alexlab.studies.answers import answer_claims, table_of, with_images
    from alexlab.studies.conditions import group_by_condition
    from alexlab.studies.setting import NOT_ANALYSED, TUNE, TUNED_FILE

    table = table_of(sweep, sweep.metrics)
    tuning = sweep.setting in NOT_ANALYSED
    answers = [] if tuning else answer_claims(table, sweep.about, sweep.setting)
    answers = [with_images(one, sweep) for one in answers]
    conditions = group_by_condition(sweep)
    plots_dir = folder / "plots"
    claimed = [metric for one in answers for metric in one.claim.metrics]
    recorded = dict.fromkeys(name for run in sweep.done for name in run.record["metrics"])
    views = [name for name in recorded if name.startswith(f"test/{sweep.metric}_")]  # as _10_crops
    metrics = list(dict.fromkeys([*sweep.metrics, *views, *claimed]))
    figures: dict[str, list[tuple[str, str]]] = {}
    if sweep.is_search:
        figures["Best trials"] = plots.search_chart(sweep, plots_dir)
    elif sweep.done:
        charted = [metric for metric in metrics if metric == metrics[0] or metric in claimed]
        figures["Answers"] = plots.answers_chart(answers, plots_dir)
        figures["Conditions"] = [
            plots.conditions_chart(sweep, conditions, metric, plots_dir) for metric in charted
        ]
        figures["Learning curves"] = plots.learning_curves(sweep, conditions, plots_dir)
        figures["Inside the layers"] = plots.diagnostics(conditions, plots_dir)
    text = report.report(sweep, conditions, answers, figures)
    summary = tables.summary_csv(sweep, conditions, metrics)
    facts = json.dumps(answers_json.facts(sweep, answers), indent=2, ensure_ascii=False) + "\n"
    drawn = [file for some in figures.values() for file, _ in some]
    text = only_own_images(text, drawn)
    write_atomically(folder / "report.md", text)
    write_atomically(folder / "summary.csv", report.portable(summary))
    write_atomically(folder / answers_json.ANSWERS, report.portable(facts))
    write_atomically(folder / answers_json.RUNS, report.portable(table.to_csv()))
    page = html.html_page(
        f"{text}\n{report.runs_and_files(sweep)}",
        folder,
        report.folded(answers),
        drawn,
        charts=chart_data.charts(sweep, conditions) if "Learning curves" in figures else {},
    )
    write_atomically(folder / "report.html", page)
    unfinished = sum(not (run.finished or run.diverged) for run in sweep.runs)
    if tuning and unfinished:
        what = TUNED_FILE if sweep.setting == TUNE else "the gain from twice the epochs"
        number = f"{unfinished} of {len(sweep.runs)} trials"
        print(f"{what} is not written: {number} have not finished; run a command that has them")
    elif tuning:
        _write_tuned(sweep)
    return sweep, answers


def _write_tuned(sweep: "Sweep") -> None:
    """Write and print the result of a finished sweep of scale=tune or scale=doubled."""
    from alexlab.studies.setting import TUNE, TUNED_FILE
    from alexlab.studies.tuning import write_converged, write_tuned

    if sweep.setting == TUNE:
        for edge in write_tuned(sweep):
            print(f"{edge}: the best is at the edge of the grid; widen `tune` in the study file")
        print(f"tuned: {sweep.folder / TUNED_FILE}; scale=doubled checks the convergence")
        return
    for condition, gain in write_converged(sweep).items():
        print(f"{condition}: twice the epochs gain {gain:+.3g} on val")


def after_sweep(folder: Path) -> None:
    """Write the report when a sweep ends, unless it is up to date; print the answers and its path.

    An error in the report does not fail the sweep.

    Raises:
        SystemExit: Ctrl-C, with 130; the report can be written later.
    """
    if (known := report_state.read_lines(folder)) is not None:
        print(*known, _path_line(folder), sep="\n")
        return
    print("writing the report ...", flush=True)
    try:
        sweep, answers = _write(folder)
    except KeyboardInterrupt:
        where = shlex.quote(os.path.relpath(folder))
        print(f"stopped; the runs are complete; to write the report: alexlab report {where}")
        raise SystemExit(130) from None
    except Exception as error:  # the runs are on disk, and `alexlab report` gives the same error
        print(f"no report: {error}")
        return
    lines: list[str] = []
    if answers:
        from alexlab.studies.wording import answer_lines

        lines = ["", *(line for one in answers for line in answer_lines(one))]
    print(*lines, _path_line(folder), sep="\n")
    from alexlab.studies.results import UNREADABLE
    from alexlab.studies.setting import NOT_ANALYSED

    # other reports print more than these lines: warnings, or the results of tuning
    if sweep.setting not in NOT_ANALYSED and all(run.state != UNREADABLE for run in sweep.runs):
        with suppress(OSError):
            report_state.write_lines(folder, lines)


def _path_line(folder: Path) -> str:
    """Return the line with the path of the report."""
    return f"report: {path_link(Path(os.path.relpath(folder / 'report.html')))}"


def write_reports(folders: Sequence[Path], publish_to: Path | None = None) -> int:
    """Write the reports of sweeps, and an index for a folder of sweeps.

    Args:
        folders: Sweeps, or folders of sweeps.
        publish_to: A folder for copies of the reports; README.md then lists their answers.

    Returns:
        The number of sweeps in folders of sweeps that got no report, because of an error.

    Raises:
        FileNotFoundError: A folder is not a sweep and has none in it.
        ValueError: See `write_report`.
    """
    sweeps, failed = [], 0
    for folder in folders:
        below = sorted(path.parent for path in folder.glob("*/sweep.yaml"))
        for one in below or [folder]:
            try:
                sweeps.append(write_report(one))
                print(f"report: {path_link(one / 'report.html')}")
            except Exception as error:  # of one sweep; the others get their reports
                if not below:
                    raise
                failed += 1
                print(f"error: {one}: {format_error(error)}", file=sys.stderr)
        if below:
            from alexlab.studies.index import write_index

            print(f"index: {path_link(write_index(folder))}")
    if publish_to is not None:
        from alexlab.studies import publish

        publish.publish(sweeps, publish_to, Path("README.md"), Path("conf/study"))
        print(f"published: {path_link(publish_to / 'README.md')}")
    return failed


def which_go_on(folder: Path) -> "Callable[[Mapping[str, str]], bool] | None":
    """Return None if every claim of the sweep in `folder` is decided; otherwise, what goes on.

    Returns:
        Function(values of a trial's axes) -> whether an open claim needs more seeds of it. A trial
        of no claim goes on too.

    Raises:
        FileNotFoundError: The folder is not a sweep.
        ValueError: Its runs cannot be compared, or its study is not valid.
    """
    from alexlab.studies.answers import answer_claims, needs_seeds, table_of
    from alexlab.studies.results import load

    sweep = load(folder)
    return needs_seeds(answer_claims(table_of(sweep), sweep.about, sweep.setting))


def check_answers(folders: Sequence[Path]) -> int:
    """Recompute the published answers below `folders`; return how many reports differ.

    Raises:
        FileNotFoundError: A folder has no published answers.
    """
    from alexlab.studies.answers_json import check

    return sum(check(folder) for folder in folders)
