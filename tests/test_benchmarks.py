"""The table of speed: how it is measured, resumed and judged, and the pages that follow from it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import pages
from benchmarks.__main__ import all_rows, selected
from benchmarks.process import run_measured
from benchmarks.table import (
    RESULTS,
    Goal,
    Options,
    Result,
    Row,
    Store,
    UnavailableError,
    goal_lines,
    lines_of,
    markdown,
    measure,
)

ROOT = Path(__file__).parents[1]


def result(**values):
    return Result("c0ffee", "a machine", "2026-11-26", 0.1, values=values)


def row(measures=None, **more):
    return Row("row", "A group", "what", "s", measures or {}, **more)


def test_contestants_are_measured_in_turn_and_a_measurement_goes_on_where_it_was_cut_off(tmp_path):
    calls = []

    def timed(name, value):
        def take(options):
            calls.append(name)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return value

        return take

    measured = row({"ours": timed("ours", 1.0), "theirs": timed("theirs", 3.0)})
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        measure(measured, store, store.begin(measured, "c", "m", 0.0), 3, Options())
    assert calls == ["ours", "theirs", "ours", "theirs"]
    again = Store(tmp_path)  # another process
    assert again.results["row"].values == {"ours": [1.0, 1.0], "theirs": [3.0]}
    measure(measured, again, again.begin(measured, "c", "m", 0.0), 3, Options())
    assert calls[4:] == ["theirs", "ours", "theirs"]
    assert {name: len(found) for name, found in again.results["row"].values.items()} == {
        "ours": 3,
        "theirs": 3,
    }


def test_values_of_another_commit_or_machine_are_not_mixed_in(tmp_path):
    store = Store(tmp_path)
    store.begin(row(), "one", "m", 0.0).values["ours"] = [1.0]
    assert store.begin(row(), "one", "m", 0.0).values == {"ours": [1.0]}
    assert store.begin(row(), "two", "m", 0.0).values == {}
    store.begin(row(), "two", "m", 0.0).values["ours"] = [1.0]
    assert store.begin(row(), "two", "other", 0.0).values == {}


def test_a_measurement_of_several_values_names_them_and_is_counted_once(tmp_path):
    calls = []
    both = lambda options: calls.append(1) or {"alexlab": 2.0, "bare loop": 1.9}  # noqa: E731
    measured, store = row({"step": both}), Store(tmp_path)
    measure(measured, store, store.begin(measured, "c", "m", 0.0), 2, Options())
    assert store.results["row"].values == {
        "step: alexlab": [2.0, 2.0],
        "step: bare loop": [1.9, 1.9],
    }
    assert len(calls) == 2


def test_what_is_not_there_says_so_and_is_asked_once(tmp_path):
    calls = []

    def missing(options):
        calls.append(1)
        raise UnavailableError("not installed: ray[tune]")

    measured, store = row({"Ray Tune": missing}), Store(tmp_path)
    measure(measured, store, store.begin(measured, "c", "m", 0.0), 3, Options())
    assert len(calls) == 1
    assert "| what | Ray Tune | not installed: ray[tune] |  |  |" in lines_of(
        measured, store.results["row"]
    )


@pytest.mark.parametrize(
    ("more_is_better", "factor", "met"),
    # ratios within the rounds: 4/2, 6/2, 8/8 -> median 2; of speeds the inverse, 0.5
    [(False, "2.00", "yes"), (True, "0.50", "**no**")],
)
def test_a_factor_is_the_median_of_the_ratios_within_a_round(more_is_better, factor, met):
    values = result(ours=[2.0, 2.0, 8.0], theirs=[4.0, 6.0, 8.0])
    judged = row(more_is_better=more_is_better, goals=[Goal("ours", 2.0, "theirs")], base="theirs")
    line = goal_lines([judged], {"row": values})[-1]
    assert line == f"| what, ours against theirs | {factor} | at least 2 | {met} |"
    assert lines_of(judged, values)[0] == f"| what | ours | 2 s (2-8) | {factor} | 3 |"


@pytest.mark.parametrize(("value", "met"), [(0.5, "yes"), (0.51, "**no**"), (0.0, "yes")])
def test_a_bound_is_of_the_median(value, met):
    judged = row(goals=[Goal("ours", at_most=0.5)])
    line = goal_lines([judged], {"row": result(ours=[0.0, value, 9.0])})[-1]
    assert line.endswith(f"s | at most 0.5 s | {met} |")


def test_rows_have_names_of_their_own_and_are_selected_by_beginnings():
    rows = all_rows()
    assert len({one.name for one in rows}) == len(rows)
    assert {one.name for one in selected(rows, ["step-alexnet-"])} == {
        "step-alexnet-fp32",
        "step-alexnet-bf16-mixed",
    }
    with pytest.raises(ValueError, match="--only stap: no such row; choose from help"):
        selected(rows, ["stap"])


def test_the_table_and_the_pages_are_those_of_the_results(tmp_path):
    store = Store(RESULTS)
    assert (RESULTS / "speed.md").read_text("utf-8") == markdown(all_rows(), store.results)
    for name in pages.PAGES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    pages.publish(store.results, tmp_path)
    for name in pages.PAGES:
        assert (tmp_path / name).read_text("utf-8") == (ROOT / name).read_text("utf-8")
    assert {"training-64", "six", "hundred", "finished"} <= store.results.keys()


def test_the_peak_of_memory_is_that_of_the_command_alone(tmp_path):
    held = bytearray(400_000_000)  # this process has more than the command
    _, peak = run_measured([sys.executable, "-c", "b = bytearray(100_000_000)"], tmp_path)
    assert 95 < peak < 200 < len(held) / 1e6


@pytest.mark.slow
def test_the_command_measures_quickly_and_writes_the_table(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "help", "studies"]
    subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, check=True)
    found = json.loads((tmp_path / "speed.json").read_text())
    assert found["help"]["values"].keys() == {"alexlab --help", "python -m src.train --help"}
    studies = {key.split(": ")[1]: one for key, one in found["studies"]["values"].items()}
    # 2 and 3 conditions at 2 seeds, one of them in both; two caches would be two sizes
    assert studies == {
        "trials": [10.0],
        "trained": [8.0],
        "trained twice": [0.0],
        "decoded": [1.0],
        "decoded twice": [0.0],
    }
    assert "## A study" in (tmp_path / "speed.md").read_text()
