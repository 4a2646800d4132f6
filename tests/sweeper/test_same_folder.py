"""Test commands that meet in one sweep's folder: other axes, another conf/, a lost journal."""

import re
import shutil

import pytest

from tests.sweeper.sweeping import (
    ROOT,
    assert_done_once,
    printed,
    rows,
    start,
    states,
    sweep,
    wait_until,
)


def shown(folder, *keys):
    return [tuple(row[key] for key in keys) for row in rows(folder)]


def test_axis_that_is_narrowed_to_one_value_stays_an_axis(tmp_path):
    sweep(tmp_path, "act=relu,tanh", "seed=0,1", "sweep.name=s")
    code, text = sweep(tmp_path, "act=relu", "seed=0,1,2", "sweep.name=s")
    assert code == 0, text
    every = [("relu", "0"), ("relu", "1"), ("tanh", "0"), ("tanh", "1"), ("relu", "2")]
    assert shown(tmp_path, "act", "seed") == every
    facts = (tmp_path / "multirun/s/sweep.yaml").read_text()
    assert "  act:\n  - relu\n  - tanh\n  seed:\n  - '0'\n  - '1'\n  - '2'\n" in facts


def test_axis_that_is_left_out_has_the_value_of_the_config(tmp_path):
    sweep(tmp_path, "model=small,wide", "act=relu,tanh", "sweep.name=s")
    code, text = sweep(tmp_path, "seed=0,1", "sweep.name=s")
    assert code == 0, text
    assert shown(tmp_path, "model", "act", "seed")[4:] == [("small", "relu", "1")]
    assert shown(tmp_path, "model", "act", "seed")[:1] == [("small", "relu", "0")]


def test_new_axis_has_its_value_in_the_trials_before_it(tmp_path):
    sweep(tmp_path, "seed=0,1", "sweep.name=s")
    code, text = sweep(tmp_path, "seed=0,1", "act=relu,tanh", "sweep.name=s")
    assert code == 0, text
    every = [("relu", "0"), ("relu", "1"), ("tanh", "0"), ("tanh", "1")]
    assert shown(tmp_path, "act", "seed") == every


@pytest.fixture
def app(tmp_path):
    """A copy of the toy app whose conf/ can be edited."""
    place = tmp_path / "tests/sweeper"
    shutil.copytree(ROOT / "tests/sweeper/conf", place / "conf")
    for name in ("toy_app.py",):
        shutil.copyfile(ROOT / "tests/sweeper" / name, place / name)
    return place


def test_conf_that_changes_while_a_sweep_runs_is_noticed(tmp_path, app):
    command = ["seed=0,1,2,3", "epoch_s=0.3", "epochs=2", "sweep.name=s"]
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"}
    process = start(tmp_path, *command, **environment)
    wait_until(lambda: list(tmp_path.glob("multirun/s/0-*/steps.txt")))
    (app / "conf/model/small.yaml").write_text("bias: 5.0\n")
    assert process.wait(60) == 1
    text = printed(tmp_path)
    assert re.search(r"the configuration changed while the sweep ran: .*bias: 0.0 -> 5.0", text)
    assert states(tmp_path)["finished"] == 1
    assert states(tmp_path)["failed"] == 1
    (app / "conf/model/small.yaml").write_text("bias: 0.0\n")
    code, text = sweep(tmp_path, *command, "sweep.rerun_failed=true", **environment)
    assert code == 0, text
    assert all(float(row["objective"]) < 1 for row in rows(tmp_path))


def test_run_of_another_conf_does_not_count_when_its_sweeper_was_killed(tmp_path):
    sweep(tmp_path, "seed=0,1", "sweep.name=s")
    home = tmp_path / "multirun/s"
    shutil.copytree(home / "1-seed-1", home / "2-seed-2")  # ended, and nobody has noted it
    config = home / "2-seed-2/config.yaml"
    config.write_text(config.read_text().replace("seed: 1", "seed: 2").replace("0.0", "5.0"))
    code, text = sweep(tmp_path, "seed=0,1,2", "sweep.name=s")
    assert code == 1
    assert "the configuration changed while the sweep ran: " in text
    assert states(tmp_path) == {"finished": 2, "failed": 1}


def test_narrowed_axis_keeps_what_the_machine_decides(tmp_path):
    options = ["sweep.name=s", "hydra.sweeper.resolve=tests.sweeper.toy_app.resolve"]
    sweep(tmp_path, "act=relu,tanh", "seed=0,1", *options)
    code, text = sweep(tmp_path, "act=relu", "seed=0,1", *options)
    assert code == 0, text
    assert "nothing to do" in text
    code, text = sweep(tmp_path, "act=relu", "seed=0,1,2", *options)
    assert code == 0, text
    assert len(rows(tmp_path)) == 5
    assert "derived: here" in next(tmp_path.glob("multirun/s/4-*/config.yaml")).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_lost_journal_and_two_sweepers_at_once(tmp_path, attempt):
    command = ["lr=0.1,0.2", "seed=0,1,2", "epochs=3", "epoch_s=0.05", "sweep.name=s"]
    sweep(tmp_path, *command)
    (tmp_path / "multirun/s/study.journal").unlink()
    next(tmp_path.glob("multirun/s/4-*/metrics.json")).unlink()
    both = [start(tmp_path, *command) for _ in range(2)]
    assert [one.wait(60) for one in both] == [0, 0]
    assert len(rows(tmp_path)) == 6
    assert_done_once(tmp_path, 6)


@pytest.mark.parametrize("damage", [b"\xff", b"{}\n"])
def test_damaged_journal_names_the_way_out(tmp_path, damage):
    sweep(tmp_path, "seed=0,1", "sweep.name=s")
    journal = tmp_path / "multirun/s/study.journal"
    content = journal.read_bytes()
    middle = content.index(b"\n", len(content) // 2) + 1
    journal.write_bytes(content[:middle] + damage + content[middle:])
    code, text = sweep(tmp_path, "seed=0,1", "sweep.name=s")
    assert code == 1
    assert "the file is damaged: move it away, and the same command restores the trials" in text
    journal.rename(tmp_path / "broken")
    code, text = sweep(tmp_path, "seed=0,1", "sweep.name=s")
    assert code == 0, text
    assert "restored: 1-seed-1 (finished)" in text
    assert states(tmp_path) == {"finished": 2}


def test_two_commands_with_other_axes_lose_no_column(tmp_path):
    first = start(tmp_path, "seed=0,1,2", "epoch_s=0.3", "sweep.name=s")
    wait_until(lambda: list(tmp_path.glob("multirun/s/0-*/steps.txt")))
    other = ["act=relu,tanh", "seed=0", "epoch_s=0.3", "sweep.name=s"]
    code, text = sweep(tmp_path, *other, output=tmp_path / "other.txt")
    assert code == 0, text
    assert first.wait(60) == 0
    found = sorted(shown(tmp_path, "seed", "act"))
    assert found[0] in [("0", "relu"), ("0", "")]  # each command knows its own axes
    assert found[1:] == [("0", "tanh"), ("1", ""), ("2", "")]
