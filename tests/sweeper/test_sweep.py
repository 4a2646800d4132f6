"""Test whole sweeps of the toy app: resumed, grown, searched, pruned, on other launchers."""

import json
import os
import shutil
import subprocess
import sys

import optuna
import pytest

from hydra_plugins.hydra_study_sweeper._storage import open_storage
from tests.sweeper.sweeping import PATH, metrics, printed, rows, start, states, sweep


def test_import_without_posix_signals_and_locks():
    """As on Windows, which has no flock either."""
    code = """
import signal, sys
for name in ("SIGKILL", "SIGHUP"):
    delattr(signal, name)
sys.modules["fcntl"] = None
import hydra_plugins.hydra_study_sweeper._scheduler, hydra_plugins.hydra_process_launcher.launcher
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": PATH})


def test_poor_trials_are_pruned(tmp_path):
    """The median pruner compares with the five trials before; the objective grows with lr."""
    command = ["lr=0.01,5", "seed=range(0,5)", "sweep.pruner=median", "sweep.name=s"]
    code, text = sweep(tmp_path, *command)
    assert code == 0, text
    assert states(tmp_path) == {"finished": 5, "pruned": 5}
    assert all("journal" not in path.read_text() for path in tmp_path.rglob("config.yaml"))


def test_an_axis_that_only_repeats_trials_is_no_parameter_for_optuna(tmp_path):
    """Else a dashboard would rank the seed among the parameters, by chance differences."""
    code, text = sweep(
        tmp_path, "lr=0.1,0.2", "seed=0,1,2", "sweep.name=s", "hydra.sweeper.repeats=[seed]"
    )
    assert code == 0, text
    storage = open_storage(str(tmp_path / "multirun/s/study.journal"))
    study = optuna.load_study(study_name="s", storage=storage)
    assert sorted(trial.params["lr"] for trial in study.trials) == [0.1] * 3 + [0.2] * 3
    assert optuna.importance.get_param_importances(study).keys() == {"lr"}
    assert sorted(row["seed"] for row in rows(tmp_path)) == ["0", "0", "1", "1", "2", "2"]


def test_sweep_of_an_older_version_is_refused(tmp_path):
    home = tmp_path / "multirun/s"
    home.mkdir(parents=True)
    (home / "sweep.yaml").write_text("command: python -m toy\naxes: {}\nconfig: {jobs: 1}\n")
    code, text = sweep(tmp_path, "seed=0,1", "sweep.name=s")
    assert code == 1
    assert text.splitlines()[-1].endswith(
        "multirun/s was made by an older version of the sweeper, and this one reads format 1; use"
        " sweep.name=NAME for a new sweep"
    )
    assert {path.name for path in home.iterdir() if "." in path.name} <= {
        *("sweep.yaml", "study.journal", "study.journal.lock")
    }


def test_grown_axis_runs_only_what_is_new(tmp_path):
    assert sweep(tmp_path, "seed=0,1", "sweep.name=s")[0] == 0
    code, text = sweep(tmp_path, "seed=0,1,2", "sweep.name=s", "sweep.n_jobs=2")
    assert code == 0
    assert "3 trials (2 finished 1 pending), 1 to run" in text
    code, text = sweep(tmp_path, "seed=0,1,2", "sweep.name=s")
    assert code == 0
    assert "nothing to do" in text
    pids = sorted(tmp_path.glob("multirun/s/*/pids.txt"))
    assert [len(path.read_text().split()) for path in pids] == [1, 1, 1]


def test_dry_run_writes_nothing(tmp_path):
    code, text = sweep(tmp_path, "seed=0,1", "lr=1,2", "sweep.dry_run=true")
    assert code == 0
    assert "4 trials" in text
    assert not (tmp_path / "multirun").exists()


def test_dry_run_of_an_existing_sweep_runs_nothing(tmp_path):
    sweep(tmp_path, "seed=0", "sweep.name=s")
    code, text = sweep(tmp_path, "seed=0,1", "sweep.name=s", "sweep.dry_run=true")
    assert code == 0
    assert "1 to run" in text
    assert len(list(tmp_path.glob("multirun/s/*/metrics.json"))) == 1


@pytest.mark.parametrize(
    ("options", "planned"),
    [
        (["seed=0,1", "act=relu,tanh"], "4 trials (1 failed 1 finished 2 pending), 2 to run"),
        (["seed=0,1", "sweep.rerun_failed=true"], "2 trials (1 failed 1 finished), 1 to run"),
        (["seed=0,1", "sweep.max_retries=1"], "2 trials (1 failed 1 finished), 1 to run"),
    ],
)
def test_dry_run_leaves_an_existing_sweep_as_it_is(tmp_path, options, planned):
    common = ["fault=raise", "fault_seed=1", "sweep.name=s"]
    sweep(tmp_path, "seed=0,1", *common)
    home = tmp_path / "multirun/s"
    files = [path for path in home.rglob("*") if path.is_file() and path.suffix != ".journal"]
    before = [path.read_bytes() for path in files]
    code, text = sweep(tmp_path, *options, *common, "sweep.dry_run=true")
    assert code == 0, text
    assert planned in text
    assert [path.read_bytes() for path in files] == before
    _, text = sweep(tmp_path, "seed=0,1", *common, "sweep.dry_run=true")  # asks the journal
    assert "2 trials (1 failed 1 finished), 0 to run" in text


def test_error_that_is_no_utf8_is_written(tmp_path):
    """A user's file may have such a name."""
    options = ["fault=not_utf8", "fault_seed=1", "sweep.name=s"]
    code, text = sweep(tmp_path, "seed=0,1", *options, PYTHONIOENCODING="utf-8:strict")
    assert code == 1
    assert "1 failed: sweep.rerun_failed=true runs them again" in text
    assert states(tmp_path) == {"finished": 1, "failed": 1}
    assert r"cannot read c\udce9.png" in rows(tmp_path)[1]["error"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("{1:a}", "a key that is not a string"),
        ("12345678901234567890123", "a number of more than 64 bits"),
    ],
)
def test_setting_that_a_sweep_could_not_read_again_is_refused(tmp_path, value, problem):
    code, text = sweep(tmp_path, f"+x={value}", "seed=0,1", HYDRA_FULL_ERROR="0")
    assert code == 1
    assert f"x: {problem}; a sweep cannot keep it" in text
    assert not (tmp_path / "multirun").exists()


def test_text_that_looks_like_an_interpolation_does_not_end_a_sweep(tmp_path):
    command = [r"+x='\${y}'", "seed=0,1", "sweep.name=s"]
    code, text = sweep(tmp_path, *command)
    assert code == 0, text
    assert states(tmp_path) == {"finished": 2}
    (tmp_path / "multirun/s/study.journal").unlink()
    code, text = sweep(tmp_path, *command)
    assert code == 0, text
    assert "not restored: " in text
    assert states(tmp_path) == {"finished": 2}


def test_trials_have_folders_of_their_own_whatever_the_app_names_them(tmp_path):
    unnamed = ["hydra.sweeper.named=false", "hydra.sweep.dir=multirun/s"]
    code, text = sweep(tmp_path, "seed=0,1,2", "hydra.sweep.subdir=x", *unnamed)
    assert code == 0, text
    assert [row["folder"] for row in rows(tmp_path)] == ["x", "x-2", "x-3"]
    assert [one["seed"] for one in metrics(tmp_path).values()] == [0, 1, 2]


def test_new_trial_does_not_take_the_folder_of_a_restored_one(tmp_path):
    unnamed = ["seed=0,1,2", "hydra.sweeper.named=false", "hydra.sweep.dir=multirun/s"]
    sweep(tmp_path, *unnamed)
    shutil.rmtree(tmp_path / "multirun/s/1")
    (tmp_path / "multirun/s/study.journal").unlink()
    code, text = sweep(tmp_path, *unnamed)  # numbered 0 (in 0), 1 (in 2) and 2
    assert code == 0, text
    found = {row["seed"]: row["objective"] for row in rows(tmp_path)}
    assert len(set(found.values())) == 3


def test_study_sweeps_its_axes(tmp_path):
    code, text = sweep(tmp_path, "study=acts", "scale=quick")
    assert code == 0, text
    found = rows(tmp_path, "acts-quick")
    assert [row["folder"] for row in found] == [
        "0-act-relu-seed-0",
        "1-act-relu-seed-1",
        "2-act-tanh-seed-0",
        "3-act-tanh-seed-1",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc", "cmaes", "nsgaii"])
def test_continued_search_equals_an_uninterrupted_one(tmp_path, sampler):
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    space = [
        "lr=tag(log,interval(1e-3,1))",
        "model=small,wide",
        f"sweep.sampler={sampler}",
        "sweep.name=s",
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, trials in ((whole, [14]), (parts, [5, 9, 14])):
        folder.mkdir()
        for n in trials:
            code, text = sweep(folder, *space, f"sweep.n_trials={n}")
            assert code == 0, text
    assert states(whole) == {"finished": 14}
    assert [row["lr"] for row in rows(parts)] == [row["lr"] for row in rows(whole)]
    assert len({row["lr"] for row in rows(whole)}) == 14
    assert len(list((whole / "multirun/s/plots").glob("*.png"))) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "random"])
def test_several_objectives(tmp_path, sampler):
    command = [
        "lr=interval(0.01,1)",
        "sweep.n_trials=6",
        f"sweep.sampler={sampler}",
        "sweep.name=s",
    ]
    command += ["direction=[minimize,maximize]"]
    code, text = sweep(tmp_path, *command, "two=true")
    assert code == 0, text
    assert [float(row["objective_1"]) for row in rows(tmp_path)] == [
        float(row["lr"]) for row in rows(tmp_path)
    ]
    assert [path.name for path in tmp_path.glob("multirun/s/plots/*")] == ["pareto_front.png"]


def test_too_few_objectives_are_a_failure(tmp_path):
    code, _ = sweep(tmp_path, "seed=0,1", "direction=[minimize,maximize]", "sweep.name=s")
    assert code == 1
    assert "not 2 numbers" in rows(tmp_path)[0]["error"]


@pytest.mark.slow
def test_repeated_suggestion_reuses_the_result(tmp_path):
    code, text = sweep(
        tmp_path,
        "seed=int(interval(0,2))",
        "sweep.sampler=random",
        "sweep.n_trials=9",
        "sweep.name=s",
    )
    assert code == 0, text
    assert states(tmp_path) == {"finished": 9}
    assert len(list(tmp_path.glob("multirun/s/*/metrics.json"))) == 3
    value = {row["seed"]: row["objective"] for row in rows(tmp_path)}
    assert all(value[row["seed"]] == row["objective"] for row in rows(tmp_path))


@pytest.mark.slow
def test_spawn_where_a_preloaded_fork_cannot_be_had(tmp_path):
    code, text = sweep(
        tmp_path, "seed=0,1", "sweep.name=s", "hydra.launcher.start_method=spawn", "sweep.n_jobs=2"
    )
    assert code == 0, text
    assert states(tmp_path) == {"finished": 2}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_hydras_other_launchers(tmp_path, launcher):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    command = [
        "seed=0,1,2",
        "sweep.name=s",
        "sweep.n_jobs=2",
        f"hydra/launcher={launcher}",
        "sweep.pruner=median",
    ]
    code, text = sweep(tmp_path, *command, timeout=280)
    assert code == 0, text
    assert states(tmp_path) == {"finished": 3}
    assert "nothing to do" in sweep(tmp_path, *command)[1]


@pytest.mark.slow
def test_runs_do_not_influence_each_other(tmp_path):
    places = {"CUDA_VISIBLE_DEVICES": "5,7"}
    process = start(tmp_path, "seed=range(0,4)", "sweep.name=s", "sweep.n_jobs=null", **places)
    assert process.wait(60) == 0, printed(tmp_path)
    found = [json.loads(p.read_text()) for p in tmp_path.glob("multirun/s/*/metrics.json")]
    assert {one["env"] for one in found} == {""}
    assert {one["gpus"] for one in found} == {"5", "7"}


@pytest.mark.slow
def test_other_sweepers_and_flags_of_hydra_work(tmp_path):
    for arguments in (
        ["seed=0,1", "hydra/sweeper=basic", "hydra/launcher=basic"],
        ["seed=0,1", "sweep.name=s", "hydra/launcher=basic"],
    ):
        assert sweep(tmp_path, *arguments)[0] == 0
    env = {**os.environ, "PYTHONPATH": PATH}
    for arguments in (["--cfg", "job"], ["--info", "config"], ["seed=3"]):
        app = [sys.executable, "-m", "tests.sweeper.toy_app", *arguments]
        subprocess.run(app, cwd=tmp_path, env=env, check=True, capture_output=True)
    assert len(list(tmp_path.glob("multirun/single/*/metrics.json"))) == 1
