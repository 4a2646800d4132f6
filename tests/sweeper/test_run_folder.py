"""Test the files of runs and sweeps: written whole, read with care, queued again."""

import json
import os
import subprocess
import sys

import pytest
from optuna.trial import TrialState

from hydra_plugins.hydra_study_sweeper._results import resolve_status
from hydra_plugins.hydra_study_sweeper._space import TrialParams
from hydra_plugins.hydra_study_sweeper._trials import TrialStore
from hydra_plugins.hydra_study_sweeper.requeue import requeue_trials
from hydra_plugins.hydra_study_sweeper.run_folder import (
    BEST,
    atomic_write,
    delete_checkpoint,
    prepare_attempt,
    previous,
    read_metrics,
    read_result,
)
from tests.sweeper.sweeping import PATH


def test_metrics_are_none_before_a_run_has_ended(tmp_path):
    assert read_metrics(tmp_path) is None
    assert read_result(tmp_path) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"objective": 1}', ""])
def test_damaged_metrics_are_named_and_the_sweeper_runs_again(tmp_path, text):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(ValueError, match=r"metrics\.json: damaged: "):
        read_metrics(tmp_path)
    assert read_result(tmp_path) is None
    assert resolve_status(tmp_path, None)["error"] == "the run ended without metrics.json"


def test_a_file_that_is_not_finished_changes_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail():
        with atomic_write(path, keep=tmp_path / "kept") as file:
            file.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"file": b"old"}


@pytest.mark.parametrize("sync", [True, False])
def test_the_older_file_is_kept_beside_the_new_one(tmp_path, sync):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_write(path, keep=tmp_path / "kept", sync=sync) as file:
        file.write(b"new")
    found = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert found == {"file": b"new", "kept": b"old"}


def test_a_checkpoint_is_deleted_with_the_one_beside_it(tmp_path):
    for name in ("best", "best.previous", "last"):
        path = tmp_path / f"checkpoints/{name}.ckpt"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert previous(tmp_path / BEST).name == "best.previous.ckpt"
    delete_checkpoint(tmp_path, BEST)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("status", "from_scratch", "left"),
    [
        ("stopped", False, ["checkpoints"]),
        ("failed", False, ["checkpoints", "metrics.failed-1.json"]),
        ("failed", True, ["metrics.failed-1.json"]),
    ],
)
def test_the_next_attempt_has_not_ended(tmp_path, status, from_scratch, left):
    (tmp_path / "metrics.json").write_text(json.dumps({"status": status}))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    prepare_attempt(tmp_path, from_scratch=from_scratch)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.relative_to(tmp_path).parts[0] for path in files) == left


def test_the_end_of_each_attempt_is_kept(tmp_path):
    for error in ("first", "second", "third"):
        (tmp_path / "metrics.json").write_text(json.dumps({"status": "failed", "error": error}))
        prepare_attempt(tmp_path, from_scratch=False)
    kept = [json.loads((tmp_path / f"metrics.failed-{k}.json").read_text()) for k in (1, 2, 3)]
    assert [one["error"] for one in kept] == ["first", "second", "third"]
    assert not (tmp_path / "metrics.json").exists()


@pytest.fixture
def swept(tmp_path):
    """A sweep whose trial 0 has finished, and whose trial 1 is pending."""
    store = TrialStore(str(tmp_path / "study.journal"), tmp_path.name, ["minimize"], tmp_path)
    params = [TrialParams({"seed": str(n)}, f"identity-{n}") for n in range(2)]
    store.add(params, {"seed": ["0", "1"]})
    store.claim(store.trials[0])
    result = {"status": "finished", "objective": 0.5}
    store.finish(store.trials[0], TrialState.COMPLETE, result)
    (tmp_path / "sweep.yaml").write_text("version: 1\ndirections: [minimize]\n")
    (tmp_path / "0-seed-0").mkdir()
    return tmp_path, store


def test_a_trial_is_queued_again_and_its_files_are_kept(swept):
    folder, store = swept
    requeue_trials(folder, [0])
    store.sync()
    assert store.trials[0].status == "pending"
    assert (folder / ".old/0-seed-0.1").is_dir()
    assert not (folder / "0-seed-0").exists()


@pytest.mark.parametrize("number", [1, 7])
def test_no_trial_is_queued_if_one_cannot_be(swept, number):
    folder, store = swept
    with pytest.raises(ValueError, match=f"has no trial {number} that has ended"):
        requeue_trials(folder, [0, number])
    store.sync()
    assert store.trials[0].status == "finished"
    assert (folder / "0-seed-0").is_dir()


def test_the_search_for_plugins_imports_neither_optuna_nor_torch():
    code = """
import sys
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
assert "StudySweeper" in {plugin.__name__ for plugin in Plugins.instance().discover(Sweeper)}
print(*{"optuna", "torch", "rich"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={**os.environ, "PYTHONPATH": PATH},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == []
