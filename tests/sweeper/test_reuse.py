"""Test that a trial is trained once, whichever sweep asks for it."""

import hashlib
import json
import os
import shutil
from types import SimpleNamespace

import pytest

from hydra_plugins.hydra_study_sweeper import _reuse
from hydra_plugins.hydra_study_sweeper.sweep_folder import VERSION
from tests.sweeper.sweeping import kill, metrics, rows, start, states, sweep, wait_until

ONE = "study=one", "+sweep.keep_best=1"  # else all runs keep their weights, which toys have not
REUSE = "sweep.reuse=true", "+sweep.keep_best=1"


def test_study_takes_the_finished_runs_of_other_sweeps(tmp_path):
    assert sweep(tmp_path, "seed=0,1", "sweep.name=before")[0] == 0
    pids = {path.read_text() for path in tmp_path.glob("multirun/before/*/pids.txt")}
    code, text = sweep(tmp_path, *ONE)
    assert code == 0, text
    assert "0-seed-0: the result of before/0-seed-0" in text
    found = metrics(tmp_path, "one")
    assert [one.get("reused_from") for one in found.values()] == [
        "before/0-seed-0",
        "before/1-seed-1",
        None,
    ]
    assert states(tmp_path, "one") == {"finished": 3}
    again = {path.read_text() for path in tmp_path.glob("multirun/one/*/pids.txt")}
    assert len(again - pids) == 1  # one process has trained: that of seed 2
    objectives = {row["seed"]: row["objective"] for row in rows(tmp_path, "one")}
    assert objectives["1"] == rows(tmp_path, "before")[1]["objective"]


def test_removing_one_sweep_leaves_the_other_whole(tmp_path):
    sweep(tmp_path, "seed=0", "sweep.name=before")
    sweep(tmp_path, *ONE)
    shutil.rmtree(tmp_path / "multirun/before")
    run = tmp_path / "multirun/one/0-seed-0"
    assert (run / "config.yaml").is_file()
    assert len((run / "steps.txt").read_text().split()) == 3
    code, text = sweep(tmp_path, *ONE)
    assert code == 0, text
    assert "nothing to do" in text


def test_other_data_and_other_settings_are_trained(tmp_path):
    sweep(tmp_path, "seed=0,1", "sweep.name=before", "epochs=2")
    code, text = sweep(tmp_path, *ONE)
    assert code == 0, text
    assert "the result of" not in text
    config = tmp_path / "multirun/before/0-seed-0/config.yaml"
    shutil.rmtree(tmp_path / "multirun/before")
    sweep(tmp_path, "seed=0,1", "sweep.name=before")
    config.write_text(config.read_text().replace("lr: 0.1", "lr: 0.3"))
    shutil.rmtree(tmp_path / "multirun/one")
    code, text = sweep(tmp_path, *ONE)
    assert code == 0, text
    assert "before/0-seed-0" not in text  # its config is no longer that of the trial
    assert "before/1-seed-1" in text


def test_free_sweep_trains_unless_it_is_asked_to_reuse(tmp_path):
    sweep(tmp_path, "seed=0", "sweep.name=before")
    _, text = sweep(tmp_path, "seed=0", "sweep.name=plain")
    assert "the result of" not in text
    _, text = sweep(tmp_path, "seed=0", "sweep.name=asked", *REUSE)
    assert "\n0: the result of before/0\n" in text
    _, text = sweep(tmp_path, *ONE, "sweep.reuse=false")
    assert "the result of" not in text


def test_result_without_weights_is_of_no_use_to_a_sweep_that_keeps_all(tmp_path):
    sweep(tmp_path, "seed=0", "sweep.name=before")  # the toy app writes no best.ckpt
    _, text = sweep(
        tmp_path, "seed=0", "sweep.name=all", "sweep.reuse=true", "+sweep.keep_best=null"
    )
    assert "the result of" not in text


def known_of_seed_1(tmp_path):
    """A file with a result of the trial seed=1 that the app knows."""
    sweep(tmp_path, "seed=1", "sweep.name=elsewhere")
    identity = rows(tmp_path, "elsewhere")[0]["identity"]
    shutil.rmtree(tmp_path / "multirun")
    known = {"status": "finished", "objective": 0.25, "reused_from": "a published table"}
    (tmp_path / "known.json").write_text(json.dumps({identity: known}))
    return str(tmp_path / "known.json")


def test_result_that_the_app_knows_needs_no_run(tmp_path):
    code, text = sweep(tmp_path, *ONE, TOY_KNOWN=known_of_seed_1(tmp_path))
    assert code == 0, text
    assert "1-seed-1: the result of a published table" in text
    found = {row["seed"]: row for row in rows(tmp_path, "one")}
    assert found["1"]["objective"] == "0.25"
    assert found["1"]["state"] == "finished"
    run = tmp_path / "multirun/one/1-seed-1"
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "metrics.json"]
    (tmp_path / "multirun/one/study.journal").unlink()
    code, text = sweep(tmp_path, *ONE)
    assert "restored: 1-seed-1 (finished)" in text


def test_dry_run_counts_the_results_that_the_app_knows(tmp_path):
    known = known_of_seed_1(tmp_path)
    plan = "multirun/one: 3 trials, at most 2 to run (1 known already); not started"
    _, text = sweep(tmp_path, *ONE, "sweep.dry_run=true", TOY_KNOWN=known)
    assert plan in text
    for option in ("sweep.reuse=false", "+sweep.keep_best=null"):  # then it trains all three
        _, text = sweep(tmp_path, "study=one", "sweep.dry_run=true", option, TOY_KNOWN=known)
        assert "multirun/one: 3 trials, all to run; not started" in text


def test_result_that_the_app_knew_for_one_sweep_is_not_copied_to_another(tmp_path):
    """It has the numbers that the first sweep uses; the second may need others."""
    sweep(tmp_path, *ONE, TOY_KNOWN=known_of_seed_1(tmp_path))
    code, text = sweep(tmp_path, "seed=0,1", "sweep.name=two", *REUSE)
    assert code == 0, text
    assert "the result of one/0-seed-0" in text
    assert "the result of one/1-seed-1" not in text
    assert rows(tmp_path, "two")[1]["objective"] != "0.25"


def test_trial_that_is_to_run_again_is_trained(tmp_path):
    from hydra_plugins.hydra_study_sweeper.requeue import requeue_trials

    sweep(tmp_path, "seed=0", "sweep.name=before")
    sweep(tmp_path, *ONE)
    requeue_trials(tmp_path / "multirun/one", [0])
    code, text = sweep(tmp_path, *ONE)
    assert code == 0, text
    assert "the result of" not in text
    assert "reused_from" not in metrics(tmp_path, "one")["0-seed-0"]


def test_run_that_cannot_be_copied_is_trained(tmp_path):
    """Another user's sweep, say, of which one file may not be read."""
    sweep(tmp_path, "seed=0,1", "sweep.name=before")
    steps = tmp_path / "multirun/before/0-seed-0/steps.txt"
    steps.unlink()
    os.mkfifo(steps)  # no regular file: it is left out
    checkpoint = tmp_path / "multirun/before/1-seed-1/checkpoints"
    shutil.rmtree(checkpoint)
    code, text = sweep(tmp_path, *ONE)
    assert code == 0, text
    assert "0-seed-0: the result of before/0-seed-0" in text
    assert not (tmp_path / "multirun/one/0-seed-0/steps.txt").exists()
    assert states(tmp_path, "one") == {"finished": 3}


@pytest.mark.parametrize("is_there", [True, False])
def test_sweeper_killed_while_it_copies_a_run(tmp_path, is_there):
    """The copy is made again, or the trial is trained where the other sweep has gone since."""
    sweep(tmp_path, "seed=0,1", "sweep.name=before")
    for i in range(3000):
        (tmp_path / f"multirun/before/0-seed-0/{i}.txt").write_text("a file of the run")
    process = start(tmp_path, *ONE)
    copies = tmp_path / "multirun/one/.reused"
    wait_until(lambda: list(copies.glob("0-seed-0/*.txt")))
    kill(process, "all")
    assert copies.is_dir()
    assert not (tmp_path / "multirun/one/0-seed-0").exists()
    if not is_there:
        shutil.rmtree(tmp_path / "multirun/before")
    code, text = sweep(tmp_path, *ONE)
    assert code == 0, text
    assert states(tmp_path, "one") == {"finished": 3}
    assert len(list((tmp_path / "multirun/one/0-seed-0").glob("*[0-9].txt"))) == 3000 * is_there
    assert not copies.exists()


def test_copy_that_fails_half_way_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "copy2", no_space)
    source = tmp_path / "multirun/before/0-a"
    (source / "checkpoints").mkdir(parents=True)
    (source / "metrics.json").write_text('{"status": "finished"}')
    sweep_yaml = {"directions": ["minimize"], "fingerprint": {}}
    one = _reuse.SharedResults(
        *(tmp_path / "multirun/one", sweep_yaml, [], lambda values: {}, None),
        lambda trial, result: True,
        needs_weights=False,
    )
    monkeypatch.setattr(one, "_sources", lambda trial: [source])
    trial = SimpleNamespace(folder="0-a", identity="1", values={})
    assert one.take(trial) is None
    assert not (tmp_path / "multirun/one/0-a").exists()


@pytest.fixture(scope="module")
def neighbour(tmp_path_factory):
    """A folder with the finished sweep `before` of two trials."""
    folder = tmp_path_factory.mktemp("neighbour")
    assert sweep(folder, "seed=0,1", "sweep.name=before")[0] == 0
    return folder


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def append(text):
    return lambda path: path.write_text(path.read_text() + text)


def instead(text):
    return lambda path: path.write_text(text)


RUN = "0-seed-0/metrics.json"
HUGE = '{"status": "finished", "objective": 1, "padding": "' + "x" * (1 << 24) + '"}'


@pytest.mark.parametrize(
    ("name", "change", "reused"),
    [
        ("sweep.yaml", lambda p: p.write_text(p.read_text().replace("nt: {}", "nt: no")), 0),
        ("trials.csv", fifo, 0),
        ("trials.csv", append(f"9,failed,3,,1,9-x,{'e' * 200_000},abc\n"), 0),
        ("trials.csv", instead("number,folder\n1,x\n"), 0),
        (RUN, fifo, 1),
        (RUN, instead("[" * 200_000), 1),
        (RUN, instead(HUGE), 1),
        (RUN, instead('{"status": ["finished"], "objective": 1}'), 1),
        (RUN, instead('{"status": "finished", "objective": "no"}'), 1),
        (RUN, instead('{"status": "finished", "objective": 1' + "0" * 400 + "}"), 1),
        (RUN, instead('{"status": "finished", "objective": 1, "wall_s": "x"}'), 2),
        (RUN, instead('{"status": "finished", "objective": 1, "wall_s": 1e400}'), 2),
        (RUN, instead('{"status": "finished", "objective": 1, "data_fingerprint": "b"}'), 1),
    ],
)
def test_odd_files_of_another_sweep_are_passed_over(tmp_path, neighbour, name, change, reused):
    shutil.copytree(neighbour / "multirun", tmp_path / "multirun")
    change(tmp_path / "multirun/before" / name)
    code, text = sweep(tmp_path, *ONE, "seed=2,1,0", timeout=60)
    assert code == 0, text
    assert states(tmp_path, "one") == {"finished": 3}
    assert text.count("the result of") == reused, text


def test_link_to_weights_is_no_weight(tmp_path):
    """It would not be copied."""
    sweep(tmp_path, "seed=0", "sweep.name=before")
    weights = tmp_path / "multirun/before/0/checkpoints/best.ckpt"
    (tmp_path / "elsewhere").write_text("weights")
    weights.symlink_to(tmp_path / "elsewhere")
    asked = ["seed=0", "sweep.name=all", "sweep.reuse=true", "+sweep.keep_best=null"]
    code, text = sweep(tmp_path, *asked)
    assert code == 0, text
    assert "the result of" not in text
    assert not list((tmp_path / "multirun/all").glob(".reused"))
    weights.unlink()
    weights.write_text("weights")
    shutil.rmtree(tmp_path / "multirun/all")
    _, text = sweep(tmp_path, *asked)
    assert "the result of before/0" in text
    assert not list((tmp_path / "multirun/all").glob(".reused"))


@pytest.mark.parametrize(
    ("there", "here", "is_taken"),
    [
        ({"data": "a"}, {"data": "a"}, True),
        ({"data": "a"}, {"data": "b"}, False),
        ({"data": "a", "other": 1}, {"data": "a"}, True),  # a mark that this sweep does not know
    ],
)
def test_a_run_on_other_data_is_not_taken(tmp_path, there, here, is_taken):
    other = tmp_path / "multirun/before"
    (other / "0-a").mkdir(parents=True)
    (other / "sweep.yaml").write_text(json.dumps({"version": VERSION, "fingerprint": there}))
    (other / "0-a/config.yaml").write_text("lr: 0.1\n")
    (other / "0-a/metrics.json").write_text('{"status": "finished", "objective": 1}')
    identity = hashlib.sha256(b'{"lr": 0.1}').hexdigest()[:16]
    (other / "trials.csv").write_text(f"state,folder,identity\nfinished,0-a,{identity}\n")
    (tmp_path / "multirun/one").mkdir()
    sweep = {"fingerprint": here, "directions": ["minimize"]}
    one = _reuse.SharedResults(
        tmp_path / "multirun/one",
        sweep,
        [],
        lambda values: {},
        None,
        fits=lambda trial, metrics: True,
        needs_weights=False,
    )
    trial = SimpleNamespace(folder="0-a", identity=identity, values={})
    assert one.take(trial) == ("before/0-a" if is_taken else None)
    assert (tmp_path / "multirun/one/0-a").exists() == is_taken


def no_space(*arguments):
    raise OSError(28, "No space left on device")


def test_runs_that_another_sweep_finishes_meanwhile_are_found(tmp_path):
    """Both run at the same time: its table is read again when it has changed."""
    other = tmp_path / "multirun/before"
    (other / "0-a").mkdir(parents=True)
    (other / "sweep.yaml").write_text(json.dumps({"version": VERSION, "fingerprint": {}}))
    (other / "0-a/config.yaml").write_text("lr: 0.1\n")
    (other / "0-a/metrics.json").write_text('{"status": "finished", "objective": 1}')
    identity, table = hashlib.sha256(b'{"lr": 0.1}').hexdigest()[:16], other / "trials.csv"
    (tmp_path / "multirun/one").mkdir()
    sweep = {"fingerprint": {}, "directions": ["minimize"]}
    one = _reuse.SharedResults(
        *(tmp_path / "multirun/one", sweep, [], lambda values: {}, None),
        fits=lambda trial, metrics: True,
        needs_weights=False,
    )
    trial, taken = SimpleNamespace(folder="0-a", identity=identity, values={}), []
    for second, state in enumerate(("running", "finished")):
        table.write_text(f"state,folder,identity\n{state},0-a,{identity}\n")
        os.utime(table, (second, second))
        taken.append(one.take(trial))
    assert taken == [None, "before/0-a"]


@pytest.mark.parametrize(
    ("needs_weights", "same_data", "taken"),
    [(False, True, "a table"), (True, True, None), (False, False, None)],
)
def test_a_result_that_the_app_knows_has_no_weights_and_must_be_of_the_same_data(
    tmp_path, needs_weights, same_data, taken
):
    (tmp_path / "multirun/one").mkdir(parents=True)
    content = {"status": "finished", "objective": 0.5, "reused_from": "a table"}
    one = _reuse.SharedResults(
        *(tmp_path / "multirun/one", {"fingerprint": {}, "directions": ["minimize"]}, []),
        *(lambda values: {"lr": 0.1}, lambda identity, sweep: content),
        fits=lambda trial, metrics: same_data,
        needs_weights=needs_weights,
    )
    assert one.take(SimpleNamespace(folder="0-a", identity="i", values={})) == taken
    assert (tmp_path / "multirun/one/0-a/metrics.json").exists() == (taken is not None)
