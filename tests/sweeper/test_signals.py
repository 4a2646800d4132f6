"""Test signals to a sweep at bad moments, and other ways in which it can end early."""

import os
import signal
import subprocess
import sys

import pytest

from tests.sweeper.sweeping import (
    GRID,
    PATH,
    assert_done_once,
    metrics,
    printed,
    seeded_moment,
    start,
    states,
    sweep,
    wait_until,
)

QUIET = "hydra/job_logging=none", "hydra/hydra_logging=none"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("seed", range(2))
def test_signal_to_the_whole_group_while_runs_start(tmp_path, number, seed):
    """As `timeout`, `docker stop` and SLURM send it; no run may count as failed."""
    process = start(tmp_path, *GRID)
    wait_until(lambda: list(tmp_path.glob("multirun/s/*/train.log")) or process.poll() is not None)
    delay = seeded_moment(seed, 0, 0.25)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(delay)
    os.killpg(process.pid, number)
    process.wait(60)
    assert "failed" not in states(tmp_path), printed(tmp_path)
    code, text = sweep(tmp_path, *GRID)
    assert code == 0, text
    assert states(tmp_path) == {"finished": 6}


def test_sigusr1_stops_a_sweep_politely(tmp_path):
    process = start(tmp_path, *GRID)
    wait_until(lambda: list(tmp_path.glob("multirun/s/*/steps.txt")))
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 130
    assert "stopping: running trials save a checkpoint and exit" in printed(tmp_path)
    assert states(tmp_path)["stopped"] >= 1
    sweep(tmp_path, *GRID)
    assert_done_once(tmp_path, 6)


def test_ctrl_c_while_the_fork_server_imports(tmp_path):
    """The terminal sends it to all processes in the foreground, and the import takes seconds."""
    files = {"TOY_IMPORTING": str(tmp_path / "importing"), "TOY_GO": str(tmp_path / "go")}
    preload = "hydra.launcher.preload=[tests.sweeper.slow_import]"
    process = start(tmp_path, *GRID, preload, **files)
    wait_until((tmp_path / "importing").exists)
    os.killpg(process.pid, signal.SIGINT)
    wait_until(lambda: "stopping: running trials save" in printed(tmp_path))
    (tmp_path / "go").touch()
    assert process.wait(60) == 130
    text = printed(tmp_path)
    assert "Traceback" not in text, text
    assert "KeyboardInterrupt" not in text
    assert "failed" not in states(tmp_path), text
    code, text = sweep(tmp_path, *GRID)
    assert code == 0, text
    assert_done_once(tmp_path, 6)


def test_a_stopped_sweep_says_how_to_go_on_and_writes_no_report(tmp_path):
    ended = "hydra.sweeper.on_end=tests.sweeper.toy_app.report"
    process = start(tmp_path, *GRID, ended)
    wait_until(lambda: list(tmp_path.glob("multirun/s/*/steps.txt")))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    text = printed(tmp_path)
    assert text.splitlines()[-1] == "stopped; to go on: the same command again"
    code, text = sweep(tmp_path, *GRID, ended)
    assert code == 0
    assert text.splitlines()[-1] == "the report of s"


def test_killed_run_stops_a_sweep_that_stops_on_errors(tmp_path):
    """The kernel kills so when memory is full."""
    command = ["seed=0,1,2", "fault=kill", "fault_seed=0", "sweep.name=s"]
    code, text = sweep(tmp_path, *command, "sweep.on_error=stop")
    assert code == 1
    assert "a trial was interrupted, and sweep.on_error=stop" in text
    assert states(tmp_path) == {"interrupted": 1, "pending": 2}


def test_sweep_whose_output_nobody_reads_goes_on(tmp_path):
    app = [sys.executable, "-u", "-m", "tests.sweeper.toy_app", "-m"]
    arguments = ["seed=0,1,2,3", "epoch_s=0.05", "sweep.name=s", *QUIET]
    command = " ".join([*app, *arguments])
    script = f"set -o pipefail; {command} 2>error.txt | head -1"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PATH},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, (tmp_path / "error.txt").read_text()
    assert done.stdout.startswith("multirun/s: 4 trials")
    assert (tmp_path / "error.txt").read_text() == ""
    assert states(tmp_path) == {"finished": 4}


def test_long_temporary_folder(tmp_path):
    """The path of a Unix socket has at most 107 bytes."""
    long = tmp_path / ("t" * 120)
    long.mkdir()
    code, text = sweep(tmp_path, "seed=0", "sweep.name=s", TMPDIR=str(long))
    assert code == 0, text
    assert states(tmp_path) == {"finished": 1}
    assert len(metrics(tmp_path)) == 1
