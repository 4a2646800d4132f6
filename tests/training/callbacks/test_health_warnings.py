"""Constant outputs and a stalled loss are warned about once; a healthy net is not."""

import pytest
import torch
from torch import nn

from alexlab.training.callbacks.csv_history import History
from alexlab.training.callbacks.health_warnings import TrainingHealthWarnings


class Trainer:
    is_global_zero = True


def validate(warnings, outputs, batch):
    warnings.on_validation_batch_end(Trainer, None, outputs.detach(), None, batch)


def watch(tmp_path, scale, losses):
    warnings = TrainingHealthWarnings(History(tmp_path / "history.csv"))
    net = nn.Linear(3, 2)
    nn.init.constant_(net.weight, scale)
    for loss in losses:
        validate(warnings, net(torch.eye(3)), batch=0)  # all equal: the rows of the weight are
        validate(warnings, net(torch.tensor([[0.0, 0, 0], [9.0, 9, 9]])), batch=1)  # does not count
        warnings.history.rows.append({"train/loss": loss})
        warnings.on_train_epoch_end(Trainer, None)


def test_constant_outputs_are_warned_about_once(tmp_path, caplog):
    watch(tmp_path, 1.0, [2.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5])
    printed = caplog.text
    assert printed.count("constant outputs") == 1
    assert "stalled training loss" not in printed


def test_a_stalled_loss_is_warned_about_once(tmp_path, caplog):
    watch(tmp_path, 1.0, [1.609] * 8)
    assert caplog.text.count("changed by less than 1% in 5 epochs (it is 1.609)") == 1


@pytest.mark.parametrize(
    "losses",
    [
        [2.0, 1.8, 1.6, 1.4, 1.2, 1.0, 0.9],
        [1.6] * 4,
        [0.0500, 0.0495, 0.0490, 0.0485, 0.0480, 0.0475, 0.0470],  # by 5 % in 5 epochs
    ],
)
def test_a_loss_that_changes_or_has_few_epochs_is_not(tmp_path, caplog, losses):
    watch(tmp_path, 1.0, losses)
    assert "training loss" not in caplog.text


def test_one_epoch_of_different_outputs_starts_the_count_again(tmp_path, caplog):
    warnings = TrainingHealthWarnings(History(tmp_path / "history.csv"))
    for epoch, spread in enumerate([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]):
        validate(warnings, torch.tensor([[0.0, 0.0], [spread, 0.0]]), batch=0)
        warnings.history.rows.append({"train/loss": 2.0 / (epoch + 1)})
        warnings.on_train_epoch_end(Trainer, None)
    assert caplog.text == ""


def test_different_outputs_are_healthy(tmp_path, caplog):
    warnings = TrainingHealthWarnings(History(tmp_path / "history.csv"))
    net = nn.Linear(3, 2)
    nn.init.eye_(net.weight)
    for loss in [2.0, 1.5, 1.2, 1.0, 0.8, 0.6, 0.5]:
        validate(warnings, net(torch.eye(3)), batch=0)
        warnings.history.rows.append({"train/loss": loss})
        warnings.on_train_epoch_end(Trainer, None)
    assert caplog.text == ""


def test_a_resumed_run_warns_and_reports_as_an_uninterrupted_one(tmp_path, caplog):
    """Stopped after three epochs of constant outputs, and after the fifth, which warns."""
    net, history = nn.Linear(3, 2), History(tmp_path / "history.csv")
    nn.init.zeros_(net.weight)
    warnings = TrainingHealthWarnings(history)
    for epoch in range(1, 8):
        validate(warnings, net(torch.eye(3)), batch=0)
        history.rows.append({"train/loss": 1.0 / epoch})
        warnings.on_train_epoch_end(Trainer, None)
        if epoch in (3, 5):
            resumed = TrainingHealthWarnings(history)
            resumed.load_state_dict(warnings.state_dict())
            warnings = resumed
    assert warnings.symptoms == ["constant outputs"]
    assert caplog.text.count("constant outputs") == 1


def test_symptoms_of_a_run_are_those_at_its_end(tmp_path):
    """Six epochs at ln 5 with constant outputs, then it learns: as a slow start on real images."""
    warnings = TrainingHealthWarnings(History(tmp_path / "history.csv"))
    found = []
    for loss, spread in [*[(1.609, 0.0)] * 6, (1.2, 3.0), (0.8, 4.0), (0.5, 5.0)]:
        validate(warnings, torch.tensor([[0.0, 0.0], [spread, 0.0]]), batch=0)
        warnings.history.rows.append({"train/loss": loss})
        warnings.on_train_epoch_end(Trainer, None)
        found.append(warnings.symptoms)
    assert found[5] == ["constant outputs", "stalled training loss"]
    assert found[-1] == []
