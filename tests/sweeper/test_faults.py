"""Kill real sweeps and runs at many moments: in the end every trial has finished exactly once."""

import os
import signal
import time
from contextlib import suppress

import pytest

from tests.sweeper.sweeping import (
    GRID,
    assert_done_once,
    kill,
    marked,
    metrics,
    printed,
    rows,
    seeded_moment,
    start,
    states,
    sweep,
    wait_until,
)

pytestmark = pytest.mark.slow


def steps_taken(folder):
    return sum(len(p.read_text().split()) for p in folder.glob("multirun/s/*/steps.txt"))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("how", ["alone", "group", "all"])
def test_sweep_killed_at_any_moment(tmp_path, hit, how, seed):
    process = start(tmp_path, *GRID)
    if seed % 4:  # mostly while runs are under way; each fourth time anywhere from the start
        wait_until(lambda: steps_taken(tmp_path) > 0)
        time.sleep(seeded_moment(seed, 0.0, 2.0))
    else:
        time.sleep(seeded_moment(seed, 0.0, 3.0))
    kill(process, how)
    whom = {"alone": "the sweeper", "group": "its group", "all": "all that it started"}[how]
    hit(f"SIGKILL of {whom} {'under way' if steps_taken(tmp_path) else 'before a first step'}")
    code, text = sweep(tmp_path, *GRID)
    assert code == 0, text
    assert_done_once(tmp_path, 6, kills=1)
    wait_until(lambda: not marked(process.mark))  # no process is left


@pytest.mark.parametrize("seed", range(5))
def test_run_killed(tmp_path, hit, seed):
    process = start(tmp_path, *GRID)
    wanted = 1 + int(seeded_moment(seed, 0, 12))
    wait_until(lambda: steps_taken(tmp_path) >= wanted)
    taken = []

    def killed():  # a running one: now, or when the next one starts
        for path in tmp_path.glob("multirun/s/*/pids.txt"):
            pid = int(path.read_text().split()[-1])
            if not (path.parent / "metrics.json").exists() and pid in marked(process.mark):
                taken[:] = [steps_taken(tmp_path)]
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.kill(pid, signal.SIGKILL)
                    return True
        return False

    wait_until(killed)
    hit(f"SIGKILL of a run when {taken[0]} of 18 steps were taken")
    code = process.wait(60)
    if code:  # the other runs ended; the same command continues this one
        assert states(tmp_path) == {"finished": 5, "interrupted": 1}
        code, _ = sweep(tmp_path, *GRID)
    assert code == 0
    assert_done_once(tmp_path, 6, kills=1)


POINTS = [
    "add", "append", "lock", "claimed", "launched", "finish", "finished", "reclaim",
    "before-rename-last.ckpt", "before-rename-metrics.json",
]  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_a_named_point(tmp_path, hit, point, seed):
    once = tmp_path / "hit"
    env = {
        "TOY_KILL": point,
        "TOY_KILL_ONCE": str(once),
        "TOY_KILL_AFTER": str(seed if point == "reclaim" else seed * 3),
    }
    if point == "reclaim":  # there must be a stale trial
        process = start(tmp_path, *GRID)
        wait_until(lambda: steps_taken(tmp_path) > 0)
        kill(process, "all")
    process = start(tmp_path, *GRID, app="tests.sweeper.killed_app", **env)
    process.wait(60)
    assert once.exists(), f"{point} was never reached"
    hit(f"SIGKILL of the sweeper or a run at the point: {point}")
    begin = time.monotonic()
    code, text = sweep(tmp_path, *GRID)
    assert code == 0, text
    assert_done_once(tmp_path, 6, kills=2)
    assert time.monotonic() - begin < 30
    if point == "append":
        assert (tmp_path / "multirun/s/study.journal.cut").stat().st_size > 0


def test_two_sweepers_share_trials_and_one_is_killed(tmp_path):
    first, second = (start(tmp_path, *GRID) for _ in range(2))
    wait_until(lambda: steps_taken(tmp_path) > 3)
    kill(first, "all")
    assert second.wait(60) == 0, printed(tmp_path)
    assert_done_once(tmp_path, 6, kills=1)


def test_two_sweepers_share_trials(tmp_path):
    both = [start(tmp_path, "seed=range(0,40)", "sweep.name=s", "sweep.n_jobs=2") for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0], printed(tmp_path)
    assert_done_once(tmp_path, 40)
    assert all(len(p.read_text().split()) == 1 for p in tmp_path.glob("multirun/s/*/pids.txt"))


def test_run_of_a_killed_sweeper_saves_and_stops(tmp_path):
    process = start(tmp_path, "seed=0", "sweep.name=s", "epochs=200", "epoch_s=0.05")
    wait_until(lambda: steps_taken(tmp_path) > 2)
    kill(process, "alone")
    wait_until(lambda: metrics(tmp_path))
    (end,) = metrics(tmp_path).values()
    assert end["status"] == "stopped"
    assert end["epochs"] < 100
    wait_until(lambda: not marked(process.mark))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("raise", "the toy is to fail"),
        ("segfault", "SIGSEGV"),
        ("exit0", "without metrics.json"),
        ("no_number", "not a number"),
        ("hang", "sweep.timeout_s=8"),
    ],
)
def test_failing_run_costs_one_trial(tmp_path, fault, error):
    more = ["sweep.timeout_s=8", "hydra.sweeper.grace_s=1"] if fault == "hang" else []
    command = [
        "seed=0,1,2",
        "sweep.name=s",
        "sweep.n_jobs=2",
        f"fault={fault}",
        "fault_seed=1",
        *more,
    ]
    code, _ = sweep(tmp_path, *command)
    assert code == 1
    assert states(tmp_path) == {"finished": 2, "failed": 1}
    assert error in rows(tmp_path)[1]["error"]
    assert metrics(tmp_path)["1-seed-1"]["status"] == "failed"
    code, text = sweep(tmp_path, *command)
    assert code == 1
    assert "nothing to do" in text
    command = [c for c in command if not c.startswith("fault=")]
    code, text = sweep(tmp_path, *command, "sweep.rerun_failed=true")
    assert code == 0, text
    assert states(tmp_path) == {"finished": 3}
    again = metrics(tmp_path)
    assert again["1-seed-1"]["started_at_epoch"] == 0  # from scratch, not from the checkpoint
    assert [len(p.read_text().split()) for p in sorted(tmp_path.glob("multirun/s/*/pids.txt"))] == [
        1,
        2,
        1,
    ]


def test_retry_continues_from_the_checkpoint(tmp_path):
    once = tmp_path / "hit"
    env = {"TOY_KILL": "before-rename-metrics.json", "TOY_KILL_ONCE": str(once)}
    code, _ = sweep(tmp_path, "seed=0,1", "sweep.name=s", "sweep.max_retries=1", **env)
    assert code == 0
    assert_done_once(tmp_path, 2)
    assert metrics(tmp_path)["0-seed-0"]["started_at_epoch"] == 3


def test_failure_whose_cause_is_gone_is_tried_again(tmp_path):
    options = ["seed=0,1", "fault=no_file", "fault_seed=1", "sweep.name=s"]
    file = tmp_path / "data.csv"
    code, text = sweep(tmp_path, *options, TOY_FILE=str(file))
    assert code == 1, text
    assert states(tmp_path) == {"finished": 1, "failed": 1}
    file.write_text("here")
    code, text = sweep(tmp_path, *options, TOY_FILE=str(file))
    assert code == 0, text
    assert_done_once(tmp_path, 2)
    code, text = sweep(tmp_path, "seed=2", "fault=raise", "sweep.name=s")
    assert states(tmp_path)["failed"] == 1
    code, text = sweep(tmp_path, "seed=2", "fault=raise", "sweep.name=s")
    assert "nothing to do" in text  # an error of the trial itself stays


@pytest.mark.parametrize("retries", [0, 1])
def test_on_error_stop(tmp_path, retries):
    """A trial that is tried again has not failed yet."""
    command = [
        "seed=0,1,2",
        "sweep.name=s",
        "fault=raise",
        "sweep.on_error=stop",
        f"sweep.max_retries={retries}",
    ]
    code, text = sweep(tmp_path, *command)
    assert code == 1
    assert states(tmp_path) == {"failed": 1, "pending": 2}
    assert text.count("retry 1/1: ") == retries


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c(tmp_path, times):
    command = ["seed=range(0,4)", "sweep.name=s", "sweep.n_jobs=2", "epochs=20", "epoch_s=0.1"]
    process = start(tmp_path, *command)
    wait_until(lambda: steps_taken(tmp_path) > 2)
    process.send_signal(signal.SIGINT)
    if times == 2:
        wait_until(lambda: "stopping" in printed(tmp_path))
        process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    ended = states(tmp_path)
    assert ended["pending"] == 2
    assert ended["stopped"] + ended["interrupted"] == 2
    if times == 1:
        assert ended["stopped"] == 2
    code, _ = sweep(tmp_path, *command)
    assert code == 0
    assert_done_once(tmp_path, 4, kills=1, epochs=20)


def test_truncated_journal(tmp_path):
    sweep(tmp_path, *GRID)
    journal = tmp_path / "multirun/s/study.journal"
    journal.write_bytes(journal.read_bytes()[:-20])
    code, text = sweep(tmp_path, *GRID)
    assert code == 0, text
    assert_done_once(tmp_path, 6)


def test_lost_journal_is_restored_from_run_folders(tmp_path):
    sweep(tmp_path, *GRID)
    before = {row["folder"]: row["objective"] for row in rows(tmp_path)}
    (tmp_path / "multirun/s/study.journal").unlink()
    grown = [a.replace("seed=0,1,2", "seed=0,1,2,3") for a in GRID]
    code, text = sweep(tmp_path, *grown)
    assert code == 0, text
    assert text.count("restored: ") == 6
    assert_done_once(tmp_path, 8)
    after = {row["folder"]: row["objective"] for row in rows(tmp_path)}
    assert {name: after[name] for name in before} == before


def test_full_disk(small_disk):
    place = small_disk("size=400k")
    command = [*GRID, "padding=20000"]
    code, text = sweep(place, *command)
    assert code == 1
    assert "No space left on device" in text
    small_disk("size=40m")
    code, text = sweep(place, *command)
    if code:  # runs that could not write metrics.json have failed
        code, text = sweep(place, *command, "sweep.rerun_failed=true")
    assert code == 0, text
    assert states(place) == {"finished": 6}


def test_read_only_folder(tmp_path, small_disk):
    place = small_disk("size=4m")
    output = tmp_path / "output.txt"
    assert sweep(place, "seed=0", "sweep.name=s", output=output)[0] == 0
    small_disk("ro")
    code, text = sweep(place, "seed=0,1", "sweep.name=s", output=output)
    assert code == 1
    assert "cannot write" in text
    assert "Read-only file system" in text


def test_changed_config_is_refused_by_name(tmp_path):
    sweep(tmp_path, "seed=0", "sweep.name=s")
    code, text = sweep(tmp_path, "seed=0,1", "sweep.name=s", "act=tanh")
    assert code == 1
    assert "act: relu -> tanh" in text
    assert states(tmp_path) == {"finished": 1}


def test_changed_data_is_refused(tmp_path):
    sweep(tmp_path, "seed=0", "sweep.name=s")
    code, text = sweep(tmp_path, "seed=0,1,2", "sweep.name=s", "data_fingerprint=xyz")
    assert code == 1
    assert "the data changed: xyz in" in text


def test_unknown_key_is_found_before_anything_runs(tmp_path):
    code, text = sweep(tmp_path, "lrr=1,2", "sweep.name=s")
    assert code == 1
    assert "Could not override 'lrr'" in text
    assert not (tmp_path / "multirun").exists()
