"""What TensorBoard itself reads back from a run's folder."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from alexlab.training.callbacks.csv_history import History
from alexlab.training.callbacks.tensorboard import (
    ImageLogger,
    PRCurves,
    TensorBoard,
    main_metric,
    title,
)


class Trainer:
    is_global_zero, global_step = True, 0


def row(epoch, acc):
    return {"epoch": epoch, "lr": 0.1, "train/loss": 1.0, "val/acc": acc, "seconds": 0.5}


def write(folder, epochs, finish=None):
    history = History(folder / "history.csv")
    history.rows = [row(e, e / 10) for e in range(1, epochs[0])]  # what the checkpoint held
    settings = {"act": "relu", "optim.lr": 0.1}
    board = TensorBoard(folder, "act: relu", settings, history)
    board.on_fit_start(Trainer, None)
    board.on_train_batch_start(Trainer, None, (torch.rand(4, 3, 8, 8), None), 0)
    for epoch in epochs:
        history.rows.append(row(epoch, epoch / 10))
        board.on_train_epoch_end(Trainer, None)
    if finish:
        board.finish(finish)


@pytest.fixture
def read():
    def make(folder):
        warnings.filterwarnings("ignore", module="tensorboard")
        return EventAccumulator(str(folder), purge_orphaned_data=True).Reload()

    return make


def test_scalars_images_and_config_under_their_names(tmp_path, read):
    write(tmp_path, [1, 2], finish={"val/acc": 0.2, "test/acc": 0.25})
    events = read(tmp_path)
    values = [(e.step, e.value) for e in events.Scalars("val/acc")]
    assert values == [(1, pytest.approx(0.1)), (2, pytest.approx(0.2))]
    assert [(e.step, e.value) for e in events.Scalars("test/acc")] == [(3, 0.25)]  # after epoch 2
    assert events.Tags()["images"] == ["train/batch"]
    assert "config/text_summary" in events.Tags()["tensors"]


def test_one_hparams_entry_with_metrics_that_are_the_scalars_of_the_same_run(tmp_path, read):
    write(tmp_path, [1], finish={"val/acc": 0.1, "test/acc": 0.25})
    assert len(list(tmp_path.iterdir())) == 1  # no run of its own
    events = read(tmp_path)
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["act"].string_value == "relu"
    assert start.hparams["optim.lr"].number_value == 0.1
    assert len(start.hparams) == 2
    with pytest.raises(KeyError):  # TensorBoard would take one run's columns for all runs
        events.SummaryMetadata("_hparams_/experiment")
    assert {"val/acc", "test/acc"} <= set(events.Tags()["scalars"])
    assert "hp_metric" not in events.Tags()["scalars"]


def test_the_first_charts_are_the_accuracies_of_val_and_test(tmp_path, read):
    """TensorBoard sorts the names of charts; in ASCII capitals come first."""
    write(tmp_path, [1, 2], finish={"val/acc": 0.2, "val/loss": 1.0, "test/acc": 0.25})
    events = read(tmp_path)
    assert sorted(events.Tags()["scalars"])[:2] == ["Accuracy/test", "Accuracy/val"]
    assert [e.value for e in events.Scalars("Accuracy/val")] == pytest.approx([0.1, 0.2])
    assert [(e.step, e.value) for e in events.Scalars("Accuracy/test")] == [(3, 0.25)]


def test_of_scores_the_first_chart_is_the_mean_absolute_error():
    assert main_metric(["epoch", "train/mae", "val/loss", "val/mae", "val/rmse"]) == "mae"
    assert title("mae") == "MAE"
    assert main_metric(["epoch", "val/loss"]) is None


def test_after_a_resume_no_epoch_shows_twice(tmp_path, read):
    """Killed in epoch 3, resumed from the end of epoch 1: epochs 2 and 3 are written again."""
    write(tmp_path, [1, 2, 3])
    write(tmp_path, [2, 3], finish={"val/acc": 0.3})
    assert [e.step for e in read(tmp_path).Scalars("val/acc")] == [1, 2, 3]


def test_a_run_stopped_in_its_first_epoch_closes_its_file(tmp_path, read):
    history = History(tmp_path / "history.csv")
    board = TensorBoard(tmp_path, "", {}, history)
    board.on_fit_start(Trainer, None)
    board.finish({})
    assert read(tmp_path).Tags()["scalars"] == []


@pytest.mark.parametrize(("max_epochs", "drawn"), [(5, [1, 2, 4, 5]), (8, [1, 2, 4, 8])])
def test_images_are_drawn_after_the_powers_of_two_and_the_last_epoch(
    tmp_path, read, max_epochs, drawn
):
    board = TensorBoard(tmp_path, "", {}, History(tmp_path / "history.csv"))
    board.on_fit_start(Trainer, None)
    images = ImageLogger(board)
    learner = SimpleNamespace(net=torch.nn.Conv2d(3, 2, 3))
    for epoch in range(1, max_epochs + 1):
        trainer = SimpleNamespace(current_epoch=epoch - 1, max_epochs=max_epochs)
        images.on_validation_batch_end(trainer, learner, None, (torch.rand(2, 3, 8, 8),), 0)
        images.on_train_epoch_end(trainer, learner)
    board.finish({})
    events = read(tmp_path)
    for name in ("filters", "feature_maps"):
        assert [event.step for event in events.Images(name)] == drawn


def test_the_curve_of_a_class_is_that_of_its_own_probabilities(tmp_path, read):
    """Of four images two are cats: by a threshold of 0.5 one of them, and one dog, is called so."""
    board = TensorBoard(tmp_path, "", {}, History(tmp_path / "history.csv"))
    board.on_fit_start(Trainer, None)
    curves = PRCurves(board, ["cat", "dog"])
    cat = torch.tensor([[0.9], [0.2], [0.7], [0.1]])
    learner = SimpleNamespace(task=SimpleNamespace(predict=lambda outputs: outputs))
    probabilities, targets = torch.cat([cat, 1 - cat], 1), torch.tensor([0, 0, 1, 1])
    for part in (slice(0, 3), slice(3, 4)):  # two batches
        curves.on_test_batch_end(None, learner, probabilities[part], (None, targets[part]))
    curves.on_test_end(None, None)
    board.finish({})
    for name, positive in (("cat", cat[:, 0]), ("dog", 1 - cat[:, 0])):
        table = torch.tensor(read(tmp_path).Tensors(f"pr/{name}")[0].tensor_proto.float_val)
        hits, false_alarms = table.view(6, -1)[:2]
        own = targets == ["cat", "dog"].index(name)
        thresholds = torch.linspace(0, 1, len(hits))
        near = [int(len(hits) * t) for t in (0.3, 0.5, 0.8)]
        for i in near:
            called = positive >= thresholds[i]
            assert (hits[i], false_alarms[i]) == ((called & own).sum(), (called & ~own).sum())


def test_a_score_has_no_curves(tmp_path):
    board = TensorBoard(tmp_path, "", {}, History(tmp_path / "history.csv"))
    board.on_fit_start(Trainer, None)
    for classes in ([], ["x"] * 31):
        curves = PRCurves(board, classes)
        curves.on_test_batch_end(None, None, torch.zeros(2, 1), (None, torch.zeros(2)))
        curves.on_test_end(None, None)  # nothing was kept


def test_the_first_batch_is_drawn_once(tmp_path, read):
    board = TensorBoard(tmp_path, "", {}, History(tmp_path / "history.csv"))
    board.on_fit_start(Trainer, None)
    for step in range(3):
        trainer = SimpleNamespace(global_step=step)
        board.on_train_batch_start(trainer, None, (torch.rand(2, 5, 8, 8), None), step)
    board.finish({})
    assert [event.step for event in read(tmp_path).Images("train/batch")] == [1]
