"""When checkpoints are written, and from where."""

import types

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from alexlab.runs.checkpoint import load, save
from alexlab.runs.folder import BEST, LAST
from alexlab.training.callbacks import checkpoints as module
from alexlab.training.callbacks.checkpoints import Checkpoints
from hydra_plugins.hydra_study_sweeper.run_folder import previous
from tests.tiny import train
from tests.waits import GPU, Waits


def make_checkpoints(folder, **settings):
    defaults = {"objective": "val/acc", "maximize": True, "every_s": 1e9, "keep_last": True}
    return Checkpoints(folder, **defaults | {"metadata": {}, "conditions": {}} | settings)


@pytest.mark.parametrize("due_elsewhere", [False, True])
def test_all_ranks_save_or_none_whatever_their_own_clocks_say(tmp_path, due_elsewhere):
    """One rank alone in a save would wait for the others for ever."""
    saved = []
    trainer = types.SimpleNamespace(
        **{"callback_metrics": {"val/acc": torch.tensor(0.5)}, "current_epoch": 0},
        **{"callbacks": [], "world_size": 2, "is_global_zero": False},
        strategy=types.SimpleNamespace(reduce_boolean_decision=lambda due, all: due_elsewhere),
        save_checkpoint=saved.append,
    )
    learner = types.SimpleNamespace(net=torch.nn.Linear(1, 1))
    clock = make_checkpoints(tmp_path, every_s=1e9 if due_elsewhere else 0)
    clock.on_train_epoch_end(trainer, learner)
    assert len(saved) == due_elsewhere


def test_the_best_weights_stay_on_their_device_until_they_are_written(tmp_path):
    """A copy to the CPU in each better epoch would wait for the device."""
    checkpoints = make_checkpoints(tmp_path)
    trainer = types.SimpleNamespace(
        **{"callback_metrics": {"val/acc": torch.tensor(0.5)}, "current_epoch": 0},
        **{"callbacks": [], "world_size": 1, "is_global_zero": True},
    )
    learner = types.SimpleNamespace(net=torch.nn.Linear(2, 2, device="meta"))
    checkpoints.on_train_epoch_end(trainer, learner)  # the numbers of meta cannot be copied
    assert {tensor.device.type for tensor in checkpoints.best["net"].values()} == {"meta"}
    net = torch.nn.Linear(2, 2)
    checkpoints.best["net"] = net.state_dict()
    checkpoints.save(trainer, last=False)
    assert torch.equal(load(tmp_path / BEST)["net"]["weight"], net.weight)


def test_better_epochs_do_not_wait_and_only_the_written_weights_are_copied(tmp_path, monkeypatch):
    """Three better epochs on a GPU, one write of two tensors, one more save of the same weights."""
    checkpoints, written = make_checkpoints(tmp_path), []
    monkeypatch.setattr(module, "save", lambda content, path: written.append(content))
    scores = [{"val/acc": torch.tensor(score)} for score in (0.25, 0.5, 0.75)]
    with Waits() as waits:
        learner = types.SimpleNamespace(net=torch.nn.Linear(2, 2).to(GPU))
        waits.found.clear()
        for epoch, metrics in enumerate(scores):
            trainer = types.SimpleNamespace(
                **{"callback_metrics": metrics, "current_epoch": epoch, "callbacks": []},
                **{"world_size": 1, "is_global_zero": True},
            )
            checkpoints.on_train_epoch_end(trainer, learner)
        assert waits.found == []
        assert {tensor.device for tensor in checkpoints.best["net"].values()} == {GPU}
        checkpoints.save(trainer, last=False)
        assert waits.found == ["aten._to_copy.default"] * 2
        checkpoints.save(trainer, last=False)
        assert len(waits.found) == 2
    (content,) = written
    assert (content["epoch"], content["score"]) == (3, 0.75)
    assert {tensor.device.type for tensor in content["net"].values()} == {"cpu"}


def test_the_best_weights_are_a_copy(tmp_path):
    checkpoints = make_checkpoints(tmp_path)
    trainer = types.SimpleNamespace(
        **{"callback_metrics": {"val/acc": torch.tensor(0.5)}, "current_epoch": 0},
        **{"callbacks": [], "world_size": 1, "is_global_zero": True},
    )
    net = torch.nn.Linear(2, 2)
    before = net.weight.detach().clone()
    checkpoints.on_train_epoch_end(trainer, types.SimpleNamespace(net=net))
    torch.nn.init.zeros_(net.weight)
    assert torch.equal(checkpoints.best["net"]["weight"], before)


def test_the_last_save_comes_before_the_trainer_leaves_its_device(config, tmp_path, monkeypatch):
    """Afterwards nothing can be gathered: the net is on the CPU, and NCCL knows no CPU tensors."""
    events = []
    teardown, write = SingleDeviceStrategy.teardown, Checkpoints.save

    def noted(name, function):
        def call(self, *args, **kwargs):
            events.append(name)
            return function(self, *args, **kwargs)

        return call

    monkeypatch.setattr(SingleDeviceStrategy, "teardown", noted("teardown", teardown))
    monkeypatch.setattr(Checkpoints, "save", noted("save", write))
    train(config(), tmp_path / "run")
    assert events == ["save", "teardown", "teardown"]  # after the training; after the test


@pytest.mark.parametrize("is_corrupted", [False, True])
def test_the_best_weights_of_the_previous_file_are_written_again(tmp_path, is_corrupted):
    """best.ckpt is newer than last.ckpt, or corrupted; the one before it has the best epoch."""
    (tmp_path / BEST).parent.mkdir()
    net = torch.nn.Linear(2, 2).state_dict()
    for epoch in (1, 2):
        save({"epoch": epoch, "score": epoch / 9, "metrics": {}, "net": net}, tmp_path / BEST)
    if is_corrupted:
        (tmp_path / BEST).write_bytes((tmp_path / BEST).read_bytes()[:-500])
    checkpoints = make_checkpoints(tmp_path)
    checkpoints.load_state_dict({"epoch": 1, "score": 1 / 9, "metrics": {}})
    checkpoints.save(types.SimpleNamespace(is_global_zero=True), last=False)
    assert load(tmp_path / BEST)["epoch"] == 1
    assert load(previous(tmp_path / BEST))["epoch"] == (1 if is_corrupted else 2)  # it is whole


def test_best_weights_of_the_same_epoch_but_another_score_are_not_taken(tmp_path):
    """An epoch that was trained twice, on two devices; last.ckpt is of the first training."""
    (tmp_path / BEST).parent.mkdir()
    for score in (0.25, 0.5):
        net = {"weight": torch.full((1,), score)}
        save({"epoch": 1, "score": score, "metrics": {}, "net": net}, tmp_path / BEST)
    checkpoints = make_checkpoints(tmp_path)
    checkpoints.load_state_dict({"epoch": 1, "score": 0.25, "metrics": {}})
    assert checkpoints.best["net"]["weight"].item() == 0.25


def test_a_lost_best_epoch_is_replaced_by_the_best_that_is_there(tmp_path, caplog):
    """Without it, the first epoch after the resume would be the best, however bad it is."""
    (tmp_path / BEST).parent.mkdir()
    net = {"weight": torch.full((1,), 0.75)}
    save({"epoch": 3, "score": 0.75, "metrics": {"val/acc": 0.75}, "net": net}, tmp_path / BEST)
    checkpoints = make_checkpoints(tmp_path)
    checkpoints.load_state_dict({"epoch": 2, "score": 0.5, "metrics": {}})
    assert (checkpoints.best["epoch"], checkpoints.best["score"]) == (3, 0.75)
    assert checkpoints.best["metrics"] == {"val/acc": 0.75}
    assert checkpoints.best["net"]["weight"].item() == 0.75
    assert "of the best epoch, 2, are lost; continuing with the weights of epoch 3" in caplog.text


def trainer_that_writes(path, content):
    """A stand-in for a Trainer whose checkpoint is `content`."""
    return types.SimpleNamespace(
        is_global_zero=True, save_checkpoint=lambda last: save(content, path), world_size=1
    )


def test_a_save_starts_the_clock_again(tmp_path, monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    checkpoints = make_checkpoints(tmp_path, every_s=30)
    due = []
    for clock.now in (29, 30, 31, 59, 60):
        due.append(checkpoints.is_due())
        if due[-1]:
            checkpoints.save(types.SimpleNamespace(is_global_zero=True, save_checkpoint=str))
    assert due == [False, True, False, False, True]


def test_a_corrupted_checkpoint_does_not_replace_the_valid_one_before_it(tmp_path, caplog):
    caplog.set_level("INFO", "alexlab")
    last = tmp_path / LAST
    last.parent.mkdir()
    for epoch in (1, 2):
        save({"epoch": epoch}, last)
    last.write_bytes(last.read_bytes()[:-100])
    checkpoints = make_checkpoints(tmp_path)
    path, content = checkpoints.find_last()
    assert (path, content["epoch"]) == (previous(last), 1)
    assert "resuming from the previous checkpoint" in caplog.text
    checkpoints.save(trainer_that_writes(last, {"epoch": 3}))
    assert [load(one)["epoch"] for one in (last, previous(last))] == [3, 1]
    checkpoints.save(trainer_that_writes(last, {"epoch": 4}))
    assert [load(one)["epoch"] for one in (last, previous(last))] == [4, 3]


def test_the_best_file_has_what_the_use_of_the_net_needs(tmp_path):
    classes = {"classes": ["a", "b"], "fingerprint": "f00d"}
    lowest = {"objective": "val/loss", "maximize": False}
    checkpoints = make_checkpoints(tmp_path, metadata=classes, **lowest)
    net = torch.nn.Linear(2, 2)
    for epoch, loss in enumerate((0.75, 0.25, 0.5)):
        metrics = {"val/loss": torch.tensor(loss), "val/acc": torch.tensor(1 - loss)}
        trainer = types.SimpleNamespace(
            **{"callback_metrics": metrics, "current_epoch": epoch, "callbacks": []},
            **{"world_size": 1, "is_global_zero": True},
        )
        checkpoints.on_train_epoch_end(trainer, types.SimpleNamespace(net=net))
    checkpoints.save(trainer, last=False)
    content = load(tmp_path / BEST)
    assert content["classes"] == ["a", "b"]
    assert (content["epoch"], content["score"]) == (2, 0.25)
    assert content["metrics"] == {"val/loss": 0.25, "val/acc": 0.75}
