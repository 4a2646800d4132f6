"""A run or a sweep that cannot be read costs the reports nothing of the others."""

import json
import os

import pytest

from alexlab.studies.results import UNREADABLE, load
from alexlab.studies.write_report import write_report, write_reports


def edit(name, change):
    """Change the JSON of a run's file by `change(content)`."""

    def harm(run):
        content = json.loads((run / name).read_text())
        change(content)
        (run / name).write_text(json.dumps(content))

    return harm


def text(name, content):
    return lambda run: (run / name).write_text(content)


def pipe(run):
    (run / "config.yaml").unlink()
    os.mkfifo(run / "config.yaml")


HARMS = {  # what is done to a run, and what is said of it
    "no metrics": (edit("metrics.json", lambda c: c.pop("metrics")), "metrics.json: damaged"),
    "metrics in a list": (
        edit("metrics.json", lambda c: c.update(metrics=[1])),
        "metrics.json: damaged: its metrics are [1]",
    ),
    "a metric in words": (
        edit("metrics.json", lambda c: c["metrics"].update({"test/acc": "good"})),
        "metrics.json: damaged: test/acc is 'good', not a number",
    ),
    "time in words": (
        edit("metrics.json", lambda c: c.update(wall_s="long")),
        "metrics.json: damaged: wall_s is 'long'",
    ),
    "versions": (edit("metrics.json", lambda c: c.update(versions=7)), "its versions are 7"),
    "no status": (edit("metrics.json", lambda c: c.pop("status")), "metrics.json: damaged"),
    "cut": (text("metrics.json", '{"status": "fini'), "metrics.json: damaged"),
    "empty": (text("metrics.json", ""), "metrics.json: damaged"),
    "a list": (text("metrics.json", "[]"), "metrics.json: damaged"),
    "bytes": (
        lambda run: (run / "metrics.json").write_bytes(b"\xff\xfe"),
        "metrics.json: damaged",
    ),
    "history in words": (text("history.csv", "epoch,train/loss\n1,low\n"), "low"),
    "no YAML": (text("config.yaml", "a: ]"), "config.yaml: no YAML"),
    "empty config": (text("config.yaml", ""), "config.yaml: it has no settings"),
    "a pipe": (pipe, "config.yaml: not a regular file"),
    "an interpolation": (text("config.yaml", "a: ${oc.env:HOME}\n"), "an interpolation"),
}


@pytest.fixture
def two(make_sweep):
    """A sweep of two activations and three seeds, and another one beside it."""

    def results(values):
        return {"test/acc": 0.5, "val/acc": 0.5, "train/acc": 0.5}

    other = make_sweep({"act": ["relu"], "seed": range(2)}, results, name="other")
    return make_sweep({"act": ["relu", "tanh"], "seed": range(3)}, results), other


@pytest.mark.parametrize("name", HARMS)
def test_a_run_that_cannot_be_read_did_not_finish(two, caplog, name):
    sweep, _ = two
    harm, said = HARMS[name]
    harm(sweep / "0-run")
    write_report(sweep)
    loaded = load(sweep)
    report = (sweep / "report.md").read_text()
    assert loaded.runs[0].state == UNREADABLE
    assert len(loaded.done) == 5
    assert said in loaded.runs[0].error
    assert "0-run" in loaded.runs[0].error
    assert "1 unreadable, of 6." in report
    assert f"{sweep}/0-run" in caplog.text


SWEEPS = {
    "empty": ("sweep.yaml", "", "sweep.yaml: it has no settings"),
    "no axes": ("sweep.yaml", "version: 1\ndirections: [maximize]\n", "damaged: its axes are None"),
    "axes in a list": (
        "sweep.yaml",
        "version: 1\naxes: [1]\ndirections: [maximize]\n",
        "sweep.yaml: damaged: its axes are",
    ),
    "no direction": ("sweep.yaml", "version: 1\naxes: {}\ndirections: []\n", "its directions are"),
    "study in words": (
        "sweep.yaml",
        "version: 1\naxes: {}\ndirections: [maximize]\nabout: x\n",
        "its about are 'x'",
    ),
    "rows": ("trials.csv", "number,state,folder\nx,finished,a\n", "trials.csv: damaged"),
    "no columns": ("trials.csv", "a,b\n1,2\n", "trials.csv"),
    "bytes": ("trials.csv", None, "utf-8"),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_that_cannot_be_read_costs_no_other_report(two, capsys, name):
    sweep, other = two
    file, content, said = SWEEPS[name]
    if content is None:
        (sweep / file).write_bytes(b"\xff\xfe\x00")
    else:
        (sweep / file).write_text(content)
    assert write_reports([sweep.parent]) == 1
    told = capsys.readouterr()
    assert f"error: {sweep}: " in told.err
    assert said in told.err
    assert len(told.err.strip().splitlines()) == 1
    assert (other / "report.html").exists()
    assert (sweep.parent / "index.html").exists()


def test_any_error_in_a_sweep_costs_no_other_report(two, capsys, monkeypatch):
    sweep, other = two
    original = write_report.__globals__["write_report"]

    def fail(folder):
        if folder == sweep:
            raise AttributeError("something new")
        return original(folder)

    monkeypatch.setitem(write_reports.__globals__, "write_report", fail)
    assert write_reports([sweep.parent]) == 1
    assert f"error: {sweep}: AttributeError: something new" in capsys.readouterr().err
    assert (other / "report.html").exists()


def test_answers_that_cannot_be_read_are_written_anew(two):
    sweep, _ = two
    write_report(sweep)
    (sweep / "answers.json").write_text("{")
    assert write_reports([sweep.parent]) == 0
    json.loads((sweep / "answers.json").read_text())
