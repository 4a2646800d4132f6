"""study=demo, and what a terminal shows when the sweep of any study ends."""

import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from alexlab.runs.config import CONF
from alexlab.studies.setting import overrides_at
from alexlab.studies.write_report import after_sweep

SRC = CONF.parent / "src"
CLAIM = {
    "statement": "Tanh tests lower than ReLU",
    "source_says": "asserts",
    "kind": "greater",
    "direction": "less",
    "margin": 0.05,
    "metric": "test/acc",
    "treatment": {"act": "tanh"},
    "control": {"act": "relu"},
}
STUDY = {"question": "?", "axes": {"seed": "range(5)"}, "looks": {"tuned": [5]}, "claims": [CLAIM]}


def sweep_of(make_sweep, differences):
    """ReLU tests at 80%, tanh as far from it as `differences` say, by seed."""

    def results(values):
        change = differences[int(values["seed"])] if values["act"] == "tanh" else 0.0
        return {"test/acc": 0.8 + change}

    return make_sweep({"seed": range(5), "act": ["tanh", "relu"]}, results, STUDY, scale="tuned")


def test_a_sweep_ends_with_claim_effect_interval_and_reason(make_sweep, capsys):
    """By hand: differences -.12 -.11 -.10 -.09 -.08, sd .0158, t(4) 2.776: -.10 +- .0196."""
    folder = sweep_of(make_sweep, [-0.12, -0.11, -0.10, -0.09, -0.08])
    after_sweep(folder)
    half = 2.776445 * math.sqrt(2.5e-4) / math.sqrt(5)
    low, high = 100 * (-0.1 - half), 100 * (-0.1 + half)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert lines == [
        "writing the report ...",
        "claim    Tanh tests lower than ReLU",
        "answer   less; the claim is supported",
        f"effect   -10.0 points ({low:.1f} to {high:.1f}), 5 seeds",
        "         test accuracy, tanh against relu",
        "why      the whole interval is below 0; a difference of 5 points matters",
        f"report: {os.path.relpath(folder / 'report.html')}",
    ]


@pytest.mark.parametrize(
    ("differences", "answer", "reason"),
    [
        ([0.01, -0.01, 0.0, 0.01, -0.01], "no difference that matters", "is within the margin of"),
        ([0.2, -0.2, 0.1, -0.1, 0.05], "cannot tell", "contains 0 and extends beyond the margin"),
        ([0.1, 0.1, 0.1, 0.1, 0.1], "not tested", "there is no spread"),
    ],
)
def test_each_answer_has_its_reason(make_sweep, capsys, differences, answer, reason):
    after_sweep(sweep_of(make_sweep, differences))
    out = capsys.readouterr().out
    assert re.search(rf"^answer   {answer}", out, re.MULTILINE)
    assert re.search(rf"^why      .*{reason}", out, re.MULTILINE)


def test_ctrl_c_while_the_report_is_written_says_how_to_write_it(make_sweep, capsys, monkeypatch):
    folder = sweep_of(make_sweep, [0.0, 0.01, 0.0, 0.01, 0.0])
    interrupted = lambda *_: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    monkeypatch.setattr("alexlab.studies.report.report", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job ignores it
    try:
        with pytest.raises(SystemExit) as ended:
            after_sweep(folder)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130
    assert f"alexlab report {os.path.relpath(folder)}" in capsys.readouterr().out


def test_doubling_what_has_no_epochs_is_refused(tmp_path):
    study = {"question": "?", "recipes": {"a": {"act": "relu"}}, "tuned": {"optim.lr": 0.1}}
    with pytest.raises(ValueError, match=r"sets no trainer\.max_epochs to double"):
        overrides_at("doubled", study, "none", tmp_path)
    assert overrides_at(
        "doubled", {**study, "recipes": {"a": {"trainer.max_epochs": 3}}}, "none", tmp_path
    ) == {"optim.lr": 0.1, "seed": "1000, 1001, 1002"}


def test_the_demo_needs_no_data_and_takes_ten_runs_and_one_look():
    study = yaml.safe_load((CONF / "study" / "demo.yaml").read_text("utf-8"))
    assert {"override /data": "shapes"} in study["defaults"]
    about = study["study"]
    assert (about["axes"], about["looks"]) == (
        {"seed": "range(5)", "recipe": "sigmoid, relu"},
        {"tuned": [5]},
    )
    rates = yaml.safe_load((CONF / "study" / "tuned" / "demo.yaml").read_text("utf-8"))
    for recipe, gained in rates["converged"].items():  # shown by scale=doubled
        if recipe != "sigmoid":  # listed as untrained
            assert gained < about["claims"][0]["margin"]


@pytest.mark.slow
def test_the_demo_answers_in_the_terminal_from_an_empty_folder(tmp_path):
    """Sigmoid networks without normalisation do not start to learn (Glorot and Bengio 2010)."""
    env = {key: value for key, value in os.environ.items() if key != "DATA_DIR"}
    done = subprocess.run(
        [sys.executable, "-m", "alexlab", "train", "study=demo"],
        cwd=tmp_path,
        env={**env, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tail = done.stdout.split("writing the report ...")[1]
    assert re.search(r"^answer   less$", tail, re.MULTILINE)
    effect = re.search(r"^effect   (-\S+) points \((\S+) to (\S+)\), 5 seeds$", tail, re.MULTILINE)
    mean, low, high = map(float, effect.groups())
    assert -80 <= low < mean < high < -30
    page = tmp_path / re.search(r"^report: (.*)$", tail, re.MULTILINE)[1]
    assert page.is_file()
    assert page == Path(tmp_path, "multirun/demo/report.html")
