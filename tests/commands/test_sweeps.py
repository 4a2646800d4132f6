"""`alexlab sweeps` on sweeps of the toy app, and what a sweep asks of this project."""

import csv
import fcntl
import os
import shlex
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from alexlab.commands import sweeps
from alexlab.runs import locate, sweep_hooks
from alexlab.studies import results
from hydra_plugins.hydra_study_sweeper._resume import command_line
from tests.sweeper.sweeping import APP, PATH, rows, states, sweep

ENV = {**os.environ, "PYTHONPATH": PATH}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A folder with the sweep `s`: 2 finished, 1 failed."""
    folder = tmp_path_factory.mktemp("toy")
    code, text = sweep(
        folder, "seed=0,1,2", "sweep.name=s", "fault=raise", "fault_seed=1", "epochs=2"
    )
    assert code == 1, text
    return folder


@pytest.fixture
def copied(toy, tmp_path):
    subprocess.run(["cp", "-r", f"{toy}/multirun", tmp_path], check=True)
    return tmp_path


def run(folder, *arguments):
    """Run `alexlab sweeps` as if the toy app were `alexlab train`."""
    words = ["-m", APP]
    code = "from alexlab.commands import sweeps\n"
    code += f"sweeps.TRAIN, sweeps.TYPED = {words}, [{['python', *words]}]\nsweeps.main()"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=ENV)
    return done.returncode, done.stdout + done.stderr


def test_list_counts_states_and_sees_that_a_run_died(copied):
    path = copied / "multirun/s/trials.csv"
    path.write_text(path.read_text().replace("finished", "running", 1))
    code, text = run(copied, "list")
    assert code == 0
    assert "multirun/s" in text
    for state in ("1 finished", "1 failed", "1 interrupted"):
        assert state in text


def test_list_adds_the_training_times(copied):
    path = copied / "multirun/s/trials.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, seconds in zip(rows, ("30", "15", ""), strict=True):  # a pending trial has none
        row["wall_s"] = seconds
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert " 45 s " in run(copied, "list")[1]


def test_list_prints_names_that_look_like_markup(copied):
    (copied / "multirun/s").rename(copied / "multirun/[x] :smile:")
    path = copied / "multirun/[x] :smile:/trials.csv"
    path.write_text(path.read_text().replace(",failed,", ",[red]lost,"))
    code, text = run(copied, "list")
    assert code == 0, text
    assert "multirun/[x] :smile:" in text
    assert "1 [red]lost" in text
    assert "no sweeps below [/x]" in run(copied, "list", "[/x]")[1]


def test_clean_deletes_last_checkpoints_of_ended_runs_and_nothing_else(copied):
    home = copied / "multirun/s"
    for number in (0, 1):
        best = next(home.glob(f"{number}-*")) / "checkpoints/best.ckpt"
        best.parent.mkdir(exist_ok=True)
        best.write_text("weights")
    (home / "0-seed-0/checkpoints/last.ckpt").write_text("state")
    code, text = run(copied, "clean", "multirun/s", "--dry-run")
    assert code == 0, text
    assert "would delete multirun/s/0-seed-0/checkpoints/last.ckpt" in text
    assert (home / "0-seed-0/checkpoints/last.ckpt").exists()
    before = {path for path in home.rglob("*") if path.is_file()}
    assert run(copied, "clean", "multirun/s")[0] == 0
    gone = {path.name for path in before if not path.exists()}
    assert gone == {"last.ckpt"}
    assert run(copied, "clean", "multirun/s", "--checkpoints")[0] == 0
    assert not list(home.rglob("*.ckpt"))


def test_clean_keeps_what_an_interrupted_run_goes_on_from(copied):
    home = copied / "multirun/s"
    path = home / "trials.csv"
    path.write_text(path.read_text().replace("finished", "running", 1))
    for number in (0, 2):
        (home / f"{number}-seed-{number}/checkpoints/last.ckpt").write_text("state")
    assert run(copied, "clean", "multirun/s")[0] == 0
    assert [path.parts[-3] for path in home.glob("*/checkpoints/last.ckpt")] == ["0-seed-0"]


def test_rm_deletes_a_sweep_but_not_under_a_run(copied):
    with (copied / "multirun/s/0-seed-0/.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, text = run(copied, "rm", "multirun/s")
        assert code == 1
        assert "0-seed-0 is running: stop the sweep first" in text
    assert run(copied, "rm", "multirun/s")[0] == 0
    assert not (copied / "multirun/s").exists()
    code, text = run(copied, "rm", "multirun/s")
    assert code == 1
    assert "is not a sweep" in text


def test_rm_deletes_nothing_under_a_sweeper_whose_runs_have_not_begun(copied):
    with (copied / "multirun/s/.sweeper.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        for verb in ("rm", "clean", "rerun"):
            code, text = run(copied, verb, "multirun/s")
            assert code == 1
            assert "multirun/s is running: stop the sweep first (Ctrl-C)" in text
    assert run(copied, "rm", "multirun/s")[0] == 0


def test_rm_deletes_no_other_folder(copied):
    precious = copied / "precious"
    precious.mkdir()
    (precious / "trials.csv").write_text("number,folder\n")
    (copied / "link").symlink_to(copied / "multirun/s")
    code, text = run(copied, "rm", "precious")
    assert code == 1
    assert "precious is not a sweep: it has no sweep.yaml" in text
    code, text = run(copied, "rm", "link")
    assert code == 1
    assert f"link is a link: give the folder {copied / 'multirun/s'} itself" in text
    assert precious.is_dir()
    assert (copied / "multirun/s/sweep.yaml").is_file()


def test_rerun_from_another_folder_runs_where_the_sweep_is(copied):
    other = copied / "other"
    other.mkdir()
    code, text = run(other, "rerun", str(copied / "multirun/s"), "--trials", "0")
    assert code == 1, text  # trial 1 has failed
    assert list(other.iterdir()) == []
    assert (copied / "multirun/s/.old/0-seed-0.1").is_dir()
    assert (copied / "multirun/s/0-seed-0/metrics.json").is_file()


def test_rerun_by_number_keeps_what_was_there(copied):
    first = (copied / "multirun/s/2-seed-2/metrics.json").read_text()
    code, text = run(copied, "rerun", "multirun/s", "--trials", "2")
    assert code == 1, text  # trial 1 is still failed
    assert states(copied) == {"finished": 2, "failed": 1}
    assert (copied / "multirun/s/.old/2-seed-2.1/metrics.json").read_text() == first
    assert (copied / "multirun/s/2-seed-2/metrics.json").exists()
    assert run(copied, "rerun", "multirun/s", "--trials", "9")[1].endswith("that has ended\n")


def test_rerun_without_numbers_takes_what_failed(copied):
    ran = (copied / "multirun/s/0-seed-0/pids.txt").read_text()
    run(copied, "rerun", "multirun/s")
    assert rows(copied)[1]["state"] == "failed"
    assert len((copied / "multirun/s/1-seed-1/pids.txt").read_text().split()) == 2
    assert (copied / "multirun/s/0-seed-0/pids.txt").read_text() == ran


def test_no_password_is_kept_and_rerun_asks_for_it(copied, monkeypatch):
    arguments = ["-m", "seed=0", "sweep.storage=mysql://me:top@secret@host/db"]
    monkeypatch.setattr(sys, "argv", ["toy", *arguments])
    assert shlex.split(command_line())[-3:] == [
        "-m",
        "seed=0",
        "sweep.storage=mysql://me:***@host/db",
    ]
    path = copied / "multirun/s/sweep.yaml"
    about = OmegaConf.load(path)
    about.storage = "mysql://me:***@host/db"
    OmegaConf.save(about, path)
    code, text = run(copied, "rerun", "multirun/s")
    assert code == 1
    assert (
        "sweep.yaml: the sweep has a storage, 'mysql://me:***@host/db'; add --storage URL" in text
    )
    code, text = run(copied, "rerun", "multirun/s", "--storage", "redis://me:it@host", "--dry-run")
    assert code == 0
    assert "sweep.storage='redis://me:***@host'" in shlex.split(text)


def test_a_sweep_of_version_0_1_is_listed_and_otherwise_refused(copied):
    path = copied / "multirun/s/sweep.yaml"
    path.write_text(path.read_text().replace("version: 1\n", ""))
    refusal = "multirun/s was made by an older version of the sweeper, and this one reads format 1"
    code, text = run(copied, "list")
    assert code == 0
    assert "2 finished, 1 failed" in text
    code, text = run(copied, "rerun", "multirun/s")
    assert (code, text.startswith(f"error: {refusal}")) == (1, True)
    for use in (results.load, lambda folder: locate.resolve_run_dir(f"best:{folder}")):
        with pytest.raises(ValueError, match=refusal):
            use(copied / "multirun/s")


def test_a_row_whose_folder_is_elsewhere_is_refused(copied):
    path = copied / "multirun/s/trials.csv"
    path.write_text(path.read_text().replace("0-seed-0", "../../precious"))
    (copied / "precious").mkdir()
    for what in ("list", "clean", "rm"):
        code, text = run(copied, what, "multirun/s")
        assert code == 1
        assert "trials.csv: '../../precious' is not the name of a folder in this sweep" in text
    assert (copied / "multirun/s").is_dir()


def test_the_fingerprint_is_that_of_names_and_sizes(tmp_path):
    def mark():
        config = {"data": {"name": "x", "root": str(tmp_path)}}
        return sweep_hooks.fingerprint({**config, "trainer": {"precision": "32-true"}})

    assert mark().keys() == {"torch", "trainer.precision"}
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"12")
    first = mark()
    (tmp_path / "a/.hidden").write_bytes(b"1")
    os.utime(tmp_path / "a/1.png", (0, 0))
    assert mark() == first
    (tmp_path / "a/1.png").write_bytes(b"123")
    assert mark() != first
    (tmp_path / "a/1.png").write_bytes(b"12")
    (tmp_path / "a/1.png").rename(tmp_path / "a/2.png")
    assert mark() != first


def test_sweeps_below_takes_one_sweep_or_many(toy):
    home = toy / "multirun"
    assert sweeps.sweeps_below(home) == sweeps.sweeps_below(home / "s") == [home / "s"]


def test_list_names_a_sweep_that_cannot_be_read_and_goes_on(copied):
    subprocess.run(["cp", "-r", "s", "t"], cwd=copied / "multirun", check=True)
    (copied / "multirun/s/trials.csv").write_text("number,folder\n1,x\n")
    code, text = run(copied, "list")
    assert code == 1
    assert "it has no state" in " ".join(text.split())
    assert "2 finished, 1 failed" in text


def test_rerun_of_a_trial_that_the_last_command_left_out(tmp_path):
    sweep(tmp_path, "act=relu,tanh", "seed=0,1", "sweep.name=s")
    sweep(tmp_path, "act=relu", "seed=0,1", "sweep.name=s", "sweep.dry_run=true")
    sweep(tmp_path, "act=relu", "seed=0,1", "sweep.name=s")
    code, text = run(tmp_path, "rerun", "multirun/s", "--trials", "3")
    assert code == 0, text
    assert states(tmp_path) == {"finished": 4}
    assert (tmp_path / "multirun/s/3-act-tanh-seed-1/metrics.json").is_file()
    path = tmp_path / "multirun/s/sweep.yaml"
    path.write_text(path.read_text().replace("act=relu", "act=relu +other=1"))
    code, text = run(tmp_path, "rerun", "multirun/s", "--trials", "3")
    assert code == 1
    assert "trial 3 did not run" in text
