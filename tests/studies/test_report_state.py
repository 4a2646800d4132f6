"""A finished sweep whose report is up to date: the same answers, and no report is made."""

import os
import subprocess
import sys

import pytest

from alexlab.studies import write_report
from alexlab.studies.report_state import STATE
from tests.studies.test_demo import sweep_of

SLOW = ("scipy", "matplotlib", "pandas", "statsmodels", "torch", "optuna")


@pytest.fixture
def reported(make_sweep, capsys, monkeypatch):
    """A sweep with its report; `calls` counts the reports that are written from then on."""
    folder = sweep_of(make_sweep, [-0.12, -0.11, -0.10, -0.09, -0.08])
    write_report.after_sweep(folder)
    calls, write = [], write_report._write
    monkeypatch.setattr(write_report, "_write", lambda one: calls.append(one) or write(one))
    return folder, capsys.readouterr().out, calls


def test_an_up_to_date_report_is_not_written_again_and_its_answers_are_printed(reported, capsys):
    folder, first, calls = reported
    write_report.after_sweep(folder)
    assert calls == []
    assert "writing the report ...\n" + capsys.readouterr().out == first


def test_such_an_answer_imports_nothing_slow(reported):
    code = "import sys; from pathlib import Path; from alexlab.studies import write_report as w;"
    code += f"w.after_sweep(Path(sys.argv[1])); print(sorted({{*{SLOW}}} & {{*sys.modules}}))"
    command = [sys.executable, "-c", code, str(reported[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def append(path):
    path.write_text(path.read_text() + "\n")


def touch(path):
    os.utime(path, ns=(0, 0))


CHANGES = {
    "a result": lambda folder: touch(folder / "0-run/metrics.json"),
    "learning curves": lambda folder: append(folder / "3-run/history.csv"),
    "predictions that come late": lambda folder: (folder / "0-run/test_predictions.csv").write_text(
        "image\n"
    ),
    "a run that goes": lambda folder: os.rename(folder / "9-run", folder / "gone"),
    "the states": lambda folder: append(folder / "trials.csv"),
    "the command": lambda folder: (folder / "sweep.yaml").write_text(
        (folder / "sweep.yaml").read_text().replace("study=act", "study=act seed=0")
    ),
    "the page was removed": lambda folder: (folder / "report.html").unlink(),
    "the page was edited": lambda folder: append(folder / "report.md"),
    "a plot was removed": lambda folder: next((folder / "plots").glob("*.png")).unlink(),
    "a plot was edited": lambda folder: touch(next((folder / "plots").glob("*.png"))),
    "the record was damaged": lambda folder: (folder / STATE).write_text("[]"),
    "another sweep": lambda folder: [
        (folder.parent / "other").mkdir(),
        (folder.parent / "other/sweep.yaml").write_text("{}"),
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_makes_a_new_report(reported, change):
    folder, _, calls = reported
    CHANGES[change](folder)
    write_report.after_sweep(folder)
    assert calls == [folder]


def test_another_version_of_the_code_makes_a_new_report(reported, monkeypatch, tmp_path):
    folder, _, calls = reported
    (tmp_path / "new.py").write_text("")
    monkeypatch.setattr("alexlab.studies.report_state.PACKAGE", tmp_path)
    write_report.after_sweep(folder)
    assert calls == [folder]


def test_a_stranger_s_record_cannot_write_to_the_terminal(reported, capsys):
    folder, _, calls = reported
    text = (folder / STATE).read_text()
    (folder / STATE).write_text(text.replace("claim  ", "\\u001b]0;owned\\u0007"))
    write_report.after_sweep(folder)
    assert calls == []
    assert "\x1b" not in capsys.readouterr().out


def test_a_warning_about_a_damaged_run_is_given_each_time(reported):
    folder, _, calls = reported
    (folder / "2-run/metrics.json").write_text("{")
    for _ in range(2):
        write_report.after_sweep(folder)
    assert calls == [folder, folder]


def test_what_tuning_found_is_printed_each_time(make_sweep):
    axes = {"act": ["relu"], "seed": ["1000", "1001", "1002"]}
    numbers = {"test/acc": 0.5, "val/acc": 0.5, "train/acc": 0.5}
    folder = make_sweep(axes, lambda values: dict(numbers), scale="tune")
    write_report.after_sweep(folder)
    assert (folder / "report.md").is_file()
    assert not (folder / STATE).exists()
