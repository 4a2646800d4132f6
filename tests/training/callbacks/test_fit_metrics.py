"""Train and test in eval mode at the end of a training, against a pass by hand."""

import csv
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.nn.functional import cross_entropy

from alexlab import factory
from alexlab.evaluation.loading import load_run
from alexlab.runs.folder import read_history, read_metrics
from alexlab.training import build
from alexlab.training.callbacks.fit_metrics import FitMetrics
from tests.tiny import train

PLAIN = ["augment=none", "data.load_size=32", "model.dropout=0", "model.width=0.25", "optim.lr=0.3"]


@pytest.fixture(scope="module")
def run(train_shapes):
    """Four epochs of a net that learns, with augmentation."""
    small = ["data.resolution=32", "augment=affine", "trainer.max_epochs=4"]
    return train_shapes("fit_metrics=true", *small)


def by_hand(run, split):
    """Rows, targets and probabilities of a split, by the weights of the best epoch."""
    loaded = load_run(run, torch.device("cpu"))
    data = loaded.data()
    rows = data.indices[split]
    return rows, data.targets[rows], loaded.predict(data.images[rows])


def test_train_images_are_measured_as_test_images_are(run):
    metrics = read_metrics(run)["metrics"]
    _, targets, probs = by_hand(run, "train")
    assert metrics["fit/acc"] == pytest.approx(float((targets == probs.argmax(1)).float().mean()))
    chosen = probs[torch.arange(len(targets)), targets]
    assert metrics["fit/loss"] == pytest.approx(float(-chosen.log().mean()), rel=1e-4)
    assert 0 <= metrics["fit/acc_last"] <= 1


def test_the_score_is_the_mean_of_the_last_three_epochs(config, tmp_path):
    tests = []
    training = train(
        config("fit_metrics=true", "trainer.max_epochs=4"),
        tmp_path / "run",
        at_batch=lambda n: tests.append(n),
    )
    (callback,) = [c for c in training.trainer.callbacks if type(c).__name__ == "FitMetrics"]
    assert len(callback.last_tests) == 3
    losses = [test["loss"] for test in callback.last_tests]
    assert len(set(losses)) == 3
    metrics = read_metrics(tmp_path / "run")["metrics"]
    assert metrics["test/loss_last_3"] == pytest.approx(sum(losses) / 3)


def test_the_last_weights_are_the_averaged_ones_if_weights_are_averaged(
    config, tmp_path, monkeypatch
):
    """Decay 0.8: the average of the weights after each step, and a pass over the images by hand."""
    steps, original = [], EMAWeightAveraging.on_train_batch_end

    def record(callback, trainer, learner, *rest):
        steps.append({k: v.double().clone() for k, v in learner.net.state_dict().items()})
        original(callback, trainer, learner, *rest)

    monkeypatch.setattr(EMAWeightAveraging, "on_train_batch_end", record)
    cfg = config("fit_metrics=true", "ema_decay=0.8", "trainer.max_epochs=4", *PLAIN)
    training = train(cfg, tmp_path / "run")
    assert len(steps) == 16
    average = steps[0]
    for weights in steps[1:]:
        average = {k: 0.8 * average[k] + 0.2 * weights[k] for k in average}
    net, data = training.learner.net.double().eval(), training.data

    def loss(split, weights):
        net.load_state_dict(weights)
        rows = torch.from_numpy(data.indices[split])
        images = data.preprocess(data.images[rows], training=False).double()
        with torch.no_grad():
            return cross_entropy(net(images), data.targets[rows]).item()

    (callback,) = [c for c in training.trainer.callbacks if type(c).__name__ == "FitMetrics"]
    found = callback.last_fit["loss"], callback.last_tests[-1]["loss"]
    expected = loss("train", average), loss("test", average)
    assert found == pytest.approx(expected, rel=1e-5)
    raw = loss("train", steps[-1]), loss("test", steps[-1])
    assert found != pytest.approx(raw, rel=1e-3)  # the two can be told apart
    assert found[1] != pytest.approx(raw[1], rel=1e-3)
    metrics = read_metrics(tmp_path / "run")["metrics"]
    assert metrics["fit/loss_last"] == pytest.approx(found[0])


def test_predictions_per_image_are_kept(run):
    rows, targets, probs = by_hand(run, "test")
    with (run / "test_predictions.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [int(row["image"]) for row in found] == rows.tolist()
    assert [int(row["target"]) for row in found] == targets.tolist()
    assert [int(row["prediction"]) for row in found] == probs.argmax(1).tolist()
    assert {row["duplicate_in_train"] for row in found} == {"0"}  # a grouped split has none
    metrics = read_metrics(run)["metrics"]
    assert metrics["test/acc_unique"] == pytest.approx(metrics["test/acc"])
    assert "test/acc_duplicates" not in metrics


def test_predictions_of_several_crops_are_kept_too(train_shapes):
    """The accuracies that metrics.json has follow from the predictions."""
    crops = ["test_crops=[1,10]", "augment=crop", "data.load_size=48", "data.resolution=32"]
    run = train_shapes("fit_metrics=true", "trainer.max_epochs=4", *crops)
    metrics = read_metrics(run)["metrics"]
    with (run / "test_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for column, name in (("prediction", "acc"), ("prediction_10_crops", "acc_10_crops")):
        hits = [row["target"] == row[column] for row in rows]
        assert metrics[f"test/{name}"] == pytest.approx(sum(hits) / len(hits))
    assert any(row["prediction"] != row["prediction_10_crops"] for row in rows)


def test_training_is_the_same_to_the_bit_with_and_without(config, tmp_path):
    for name, setting in (("with", "true"), ("without", "false")):
        train(config(f"fit_metrics={setting}", "trainer.max_epochs=4"), tmp_path / name)
    rows = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_history(tmp_path / name)]
        for name in ("with", "without")
    ]
    assert rows[0] == rows[1]
    metrics = [read_metrics(tmp_path / name)["metrics"] for name in ("with", "without")]
    assert metrics[1].items() <= metrics[0].items()
    assert not any(name.startswith("fit/") for name in metrics[1])


def test_duplicates_are_those_of_train_images(tmp_path, monkeypatch):
    """Image 3 is a duplicate of 0, in train, and image 4 of 1, in val; the net is right about 3."""
    duplicates, targets = np.array([0, 1, 2, 0, 1]), torch.tensor([0, 1, 1, 1, 1])
    data = SimpleNamespace(
        test_dataloader=lambda: SimpleNamespace(batches=lambda: [np.array([3, 4])]),
        cache=SimpleNamespace(index=lambda size: SimpleNamespace(duplicates=duplicates)),
        indices={"train": np.array([0]), "val": np.array([1])},
        **{"targets": targets, "classes": ["a", "b"], "load_size": 8, "use_cache": True},
    )
    outputs = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    monkeypatch.setattr(FitMetrics, "_measure", lambda *args: ({}, outputs))
    trainer = SimpleNamespace(default_root_dir=tmp_path)
    found = FitMetrics(data)._per_image(trainer, SimpleNamespace(net=None))
    assert found == {"test/acc_duplicates": 1.0, "test/acc_unique": 0.0}
    with (tmp_path / "test_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["duplicate_in_train"] for row in rows] == ["1", "0"]
    assert [row["group"] for row in rows] == ["0", "1"]


@pytest.mark.parametrize("stop_after", [None, 4, 5])
def test_test_is_measured_after_the_last_three_epochs_and_train_after_the_last(
    monkeypatch, stop_after
):
    """Of five epochs. A run that is stopped after one of them goes on from what it saved."""
    measured = []

    def measure(callback, trainer, learner, net, split):
        measured.append((trainer.current_epoch + 1, split))
        return {"loss": float(trainer.current_epoch + 1)}, torch.zeros(1)

    monkeypatch.setattr(FitMetrics, "_measure", measure)
    trainer = SimpleNamespace(max_epochs=5, current_epoch=0, callbacks=[], world_size=2)
    learner, logged = SimpleNamespace(net=None), {}
    learner.log_dict = lambda values, sync_dist: logged.update(values)
    callback = FitMetrics(None)
    for epoch in range(1, 6):
        trainer.current_epoch = epoch - 1
        callback.on_train_epoch_end(trainer, learner)
        if epoch == stop_after:
            resumed = FitMetrics(None)
            resumed.load_state_dict(callback.state_dict())
            callback = resumed
    assert measured == [(3, "test"), (4, "test"), (5, "test"), (5, "train")]
    trainer.current_epoch = 1  # the best weights, of another epoch
    callback.on_test_epoch_end(trainer, learner)
    assert logged == {"fit/loss": 2.0, "fit/loss_last": 5.0, "test/loss_last_3": 4.0}


@pytest.mark.parametrize("mode", [True, False])
def test_a_measurement_leaves_the_net_in_its_mode(config, mode):
    """In eval mode with the test: dropout would then change what comes after it."""
    cfg = config("model.dropout=0.5")
    data = factory.data_module(cfg)
    learner = build.learner(cfg, data)
    learner.net.train(mode)
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=nullcontext))
    FitMetrics(data)._measure(trainer, learner, learner.net, "test")
    assert {module.training for module in learner.net.modules()} == {mode}


def test_two_epochs_have_no_mean_of_three(monkeypatch):
    monkeypatch.setattr(FitMetrics, "_measure", lambda *args: ({"loss": 1.0}, None))
    trainer = SimpleNamespace(max_epochs=2, current_epoch=0, callbacks=[], world_size=2)
    learner, logged = SimpleNamespace(net=None), {}
    learner.log_dict = lambda values, sync_dist: logged.update(values)
    callback = FitMetrics(None)
    for trainer.current_epoch in range(2):
        callback.on_train_epoch_end(trainer, learner)
    callback.on_test_epoch_end(trainer, learner)
    assert logged == {"fit/loss": 1.0, "fit/loss_last": 1.0}
