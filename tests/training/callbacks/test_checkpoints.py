"""When checkpoints are written, and from where."""

import types

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from alexlab.runs.checkpoint import load, save
from alexlab.runs.folder import BEST
from alexlab.training.callbacks import checkpoints as module
from alexlab.training.callbacks.checkpoints import Checkpoints
from tests.tiny import train
from tests.waits import GPU, Waits


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
    settings = {
        "objective": "val/acc",
        "maximize": True,
        "keep_last": True,
        "metadata": {},
        "conditions": {},
    }
    clock = Checkpoints(tmp_path, **settings, every_s=1e9 if due_elsewhere else 0)
    clock.on_train_epoch_end(trainer, learner)
    assert len(saved) == due_elsewhere


def test_the_best_weights_stay_on_their_device_until_they_are_written(tmp_path):
    """A copy to the CPU in each better epoch would wait for the device."""
    settings = {
        "objective": "val/acc",
        "maximize": True,
        "keep_last": False,
        "metadata": {},
        "conditions": {},
    }
    checkpoints = Checkpoints(tmp_path, **settings, every_s=1e9)
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
    settings = {"objective": "val/acc", "maximize": True, "keep_last": False, "metadata": {}}
    checkpoints, written = Checkpoints(tmp_path, **settings, every_s=1e9), []
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
    settings = {
        "objective": "val/acc",
        "maximize": True,
        "keep_last": False,
        "metadata": {},
        "conditions": {},
    }
    checkpoints = Checkpoints(tmp_path, **settings, every_s=1e9)
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
    settings = {
        "objective": "val/acc",
        "maximize": True,
        "keep_last": False,
        "metadata": {},
        "conditions": {},
    }
    (tmp_path / BEST).parent.mkdir()
    net = torch.nn.Linear(2, 2).state_dict()
    for epoch in (1, 2):
        save({"epoch": epoch, "score": epoch / 9, "metrics": {}, "net": net}, tmp_path / BEST)
    if is_corrupted:
        (tmp_path / BEST).write_bytes((tmp_path / BEST).read_bytes()[:-500])
    checkpoints = Checkpoints(tmp_path, **settings, every_s=1e9)
    checkpoints.load_state_dict({"epoch": 1, "score": 1 / 9, "metrics": {}})
    checkpoints.save(types.SimpleNamespace(is_global_zero=True), last=False)
    assert load(tmp_path / BEST)["epoch"] == 1


def test_best_weights_of_the_same_epoch_but_another_score_are_not_taken(tmp_path):
    """An epoch that was trained twice, on two devices; last.ckpt is of the first training."""
    settings = {
        "objective": "val/acc",
        "maximize": True,
        "keep_last": False,
        "metadata": {},
        "conditions": {},
    }
    (tmp_path / BEST).parent.mkdir()
    for score in (0.25, 0.5):
        net = {"weight": torch.full((1,), score)}
        save({"epoch": 1, "score": score, "metrics": {}, "net": net}, tmp_path / BEST)
    checkpoints = Checkpoints(tmp_path, **settings, every_s=1e9)
    checkpoints.load_state_dict({"epoch": 1, "score": 0.25, "metrics": {}})
    assert checkpoints.best["net"]["weight"].item() == 0.25
