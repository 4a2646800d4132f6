"""Signals, SIGKILL and a closed pipe at the moments between the batches of a training."""

import os
import signal
import sys

import pytest

from alexlab.commands.train import in_folder
from alexlab.data.datamodule import ImageFolderData
from alexlab.runs.checkpoint import load
from alexlab.runs.folder import BEST, LAST, RunFolder, Stopped, is_locked, read_metrics
from alexlab.training.callbacks import multi_crop_test
from alexlab.training.callbacks.checkpoints import Checkpoints
from alexlab.training.callbacks.tensorboard import TensorBoard
from alexlab.training.module import Learner
from tests.tiny import BATCHES, EPOCHS, in_child, rows, same, train

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
CROPS = "test_crops=[1,10]"


def run(cfg, folder, *, trial=False):
    """Train as `alexlab train` does: with handlers from the first line to the last."""
    in_folder(cfg, folder, trial=trial, write=True)


def interrupting(monkeypatch, owner, name, number, *, after=False, at=1):
    """Send `number` to this process as `owner.name` is called for the `at`th time."""
    original, calls = getattr(owner, name), []

    def call(*args, **kwargs):
        calls.append(name)
        result = original(*args, **kwargs) if after else None
        if len(calls) == at:
            os.kill(os.getpid(), number)
        return result if after else original(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)


def steps_of(function, monkeypatch):
    """Call `function`; return how many batches were trained meanwhile."""
    steps, step = [], Learner.training_step
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "training_step", lambda *a: (steps.append(0), step(*a))[1])
        function()
    return len(steps)


def assert_as_unbroken(folder, unbroken):
    metrics, expected = read_metrics(folder), read_metrics(unbroken)
    assert metrics["status"] == "finished"
    timed = {"test/seconds_10_crops"}
    assert {k: v for k, v in metrics["metrics"].items() if k not in timed} == {
        k: v for k, v in expected["metrics"].items() if k not in timed
    }
    assert metrics["best_sha256"] == expected["best_sha256"]
    assert rows(folder) == rows(unbroken)


PLACES = {  # in the test pass
    "its first batch": (Learner, "test_step", {}),
    "several crops": (multi_crop_test, "predict_all", {}),
    "its end": (multi_crop_test.MultiCropTest, "on_test_end", {}),
    "the last save of the training": (Checkpoints, "on_train_end", {"after": True}),
}


@pytest.mark.parametrize("trial", [False, True], ids=["run", "trial"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_the_test_pass_stops_and_loses_nothing(
    config, once, tmp_path, monkeypatch, number, place, trial, hit
):
    owner, name, options = PLACES[place]
    folder, unbroken = tmp_path / "run", once("crops", config(CROPS))

    def interrupted():
        interrupting(pytest.MonkeyPatch(), owner, name, number, **options)
        run(config(CROPS), folder, trial=trial)

    assert in_child(interrupted) == 128 + number
    assert read_metrics(folder)["status"] == "stopped"
    assert read_metrics(folder)["error"] is None
    trained = steps_of(lambda: run(config(CROPS), folder, trial=trial), monkeypatch)
    assert trained == 0
    assert_as_unbroken(folder, unbroken)
    assert (folder / LAST).exists() != trial
    hit(f"{signal.Signals(number).name} in the test pass, at {place}")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_after_the_test_pass_comes_too_late(config, tmp_path, number):
    def interrupted():
        interrupting(pytest.MonkeyPatch(), TensorBoard, "finish", number)
        run(config(), tmp_path / "run")

    assert in_child(interrupted) == 0
    assert read_metrics(tmp_path / "run")["status"] == "finished"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_the_data_are_read_leaves_nothing(config, tmp_path, number):
    def interrupted():
        interrupting(pytest.MonkeyPatch(), ImageFolderData, "prepare", number)
        run(config(), tmp_path / "run")

    assert in_child(interrupted) == 128 + number
    assert not (tmp_path / "run").exists()


def test_a_trial_that_is_stopped_while_the_data_are_read_is_stopped(config, tmp_path):
    def interrupted():
        interrupting(pytest.MonkeyPatch(), ImageFolderData, "prepare", signal.SIGTERM)
        run(config(), tmp_path / "run", trial=True)

    assert in_child(interrupted) == 143
    assert read_metrics(tmp_path / "run")["status"] == "stopped"


def test_a_stop_before_a_resume_has_trained_leaves_a_finished_run(config, tmp_path):
    run(config("sched=constant"), tmp_path / "run")
    before = (tmp_path / "run/metrics.json").read_bytes()

    def interrupted():
        interrupting(pytest.MonkeyPatch(), ImageFolderData, "prepare", signal.SIGTERM)
        run(config("sched=constant", "trainer.max_epochs=3"), tmp_path / "run")

    assert in_child(interrupted) == 143
    assert (tmp_path / "run/metrics.json").read_bytes() == before


# -- save_every_s


@pytest.mark.parametrize("batch", range(2, EPOCHS * BATCHES + 1))
def test_what_a_crash_costs_is_counted_in_seconds_not_in_epochs(config, once, tmp_path, batch, hit):
    """With save_every_s=0 it is the batch under way, also in the middle of an epoch."""
    unbroken, folder = once("plain", config()), tmp_path / "run"

    def die(n):
        if n == batch:
            os.kill(os.getpid(), signal.SIGKILL)

    killed = in_child(lambda: train(config("save_every_s=0"), folder, at_batch=die))
    assert killed == -signal.SIGKILL
    assert not is_locked(folder)
    assert load(folder / LAST)["global_step"] == batch - 1
    train(config(), folder)
    assert_as_unbroken(folder, unbroken)
    hit(f"SIGKILL in batch {batch} of {EPOCHS * BATCHES}, saved after each")


def test_saving_in_an_epoch_changes_no_number(config, once, tmp_path):
    unbroken = once("plain", config())
    train(config("save_every_s=0"), tmp_path / "run")
    assert_as_unbroken(tmp_path / "run", unbroken)
    assert same(*(load(run / LAST)["state_dict"] for run in (tmp_path / "run", unbroken)))


def test_nothing_is_saved_before_it_is_due(config, tmp_path, monkeypatch):
    saves, save = [], Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", lambda *a, **k: (saves.append(0), save(*a, **k)))
    train(config("save_every_s=1000"), tmp_path / "run")
    assert len(saves) == 1  # at the end


def test_between_two_optimiser_steps_nothing_is_saved(config, once, tmp_path):
    """The gradients so far would be lost."""
    accumulate = "trainer.accumulate_grad_batches=2"

    def die(n):
        if n == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    folder = tmp_path / "run"
    in_child(lambda: train(config(accumulate, "save_every_s=0"), folder, at_batch=die))
    assert load(folder / LAST)["global_step"] == 1
    train(config(accumulate), folder)
    assert_as_unbroken(folder, once("accumulated", config(accumulate)))


# -- the end of a trial


def test_sigkill_before_metrics_json_costs_a_trial_nothing(config, tmp_path, monkeypatch, hit):
    """last.ckpt is deleted only when metrics.json is there."""
    folder = tmp_path / "run"

    def killed():
        patch = pytest.MonkeyPatch()
        patch.setattr(RunFolder, "_end", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        run(config("save_every_s=0"), folder, trial=True)

    assert in_child(killed) == -signal.SIGKILL
    assert read_metrics(folder) is None
    trained = steps_of(lambda: run(config("save_every_s=0"), folder, trial=True), monkeypatch)
    assert trained == 0
    assert read_metrics(folder)["status"] == "finished"
    assert not (folder / LAST).exists()
    assert (folder / BEST).exists()
    hit("SIGKILL of a trial before its metrics.json")


def test_sigkill_after_metrics_json_leaves_a_finished_trial(config, tmp_path):
    folder = tmp_path / "run"

    def killed():
        patch, end = pytest.MonkeyPatch(), RunFolder._end

        def end_and_die(self, status, error=None):
            end(self, status, error)
            os.kill(os.getpid(), signal.SIGKILL)

        patch.setattr(RunFolder, "_end", end_and_die)
        run(config("save_every_s=0"), folder, trial=True)

    assert in_child(killed) == -signal.SIGKILL
    assert read_metrics(folder)["status"] == "finished"


# -- a reader that has gone


def test_a_run_whose_output_nobody_reads_any_more_stops_and_can_be_resumed(
    config, once, tmp_path, hit
):
    """As with `| head -1`: the pipe is closed after the first line."""
    folder = tmp_path / "run"

    def piped():
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.close(writer)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        patch, step = pytest.MonkeyPatch(), Learner.training_step

        def close_reader(*args):
            if os.path.exists(f"/proc/self/fd/{reader}"):
                os.close(reader)
            return step(*args)

        patch.setattr(Learner, "training_step", close_reader)
        run(config(), folder)

    assert in_child(piped) == 141
    assert read_metrics(folder)["status"] == "stopped"
    assert "epoch   1/2" in (folder / "train.log").read_text()
    run(config(), folder)
    assert_as_unbroken(folder, once("plain", config()))
    hit("a closed pipe in the first epoch")


def test_stopped_is_raised_where_a_signal_waited(config, tmp_path):
    """Without handlers of the whole run, as in a notebook, too."""
    with pytest.raises(Stopped):
        train(config(), tmp_path / "run", stop_after=EPOCHS * BATCHES)
