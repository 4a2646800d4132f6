"""`+trainer.KEY=VALUE`: what each argument of Lightning's Trainer does to a run and its records."""

import pytest
import torch

from alexlab.runs.checkpoint import load
from alexlab.runs.folder import BEST, read_metrics
from alexlab.runs.settings import SETTINGS
from alexlab.training.module import Learner
from tests.tiny import BATCHES, EPOCHS, rows, same, train, weights

# settings of the default config, which other tests change
OTHERS = {"max_epochs", "accelerator", "devices", "strategy", "precision", "gradient_clip_val"}
OTHERS |= {"accumulate_grad_batches", "auto_batch"}
SAME = {  # these change no number of a run with one device
    "num_nodes": "1",
    "min_epochs": "2",
    "min_steps": "3",
    "max_time": "'01:00:00:00'",
    "num_sanity_val_steps": "2",
    "limit_val_batches": "1.0",
    "limit_test_batches": "1",
    "gradient_clip_algorithm": "norm",
    "benchmark": "true",
    "inference_mode": "false",
    "profiler": "simple",
    "detect_anomaly": "true",
    "sync_batchnorm": "true",
    "reload_dataloaders_every_n_epochs": "1",
}
CHANGING = {"max_steps", "overfit_batches", "limit_train_batches", "fast_dev_run"}


def test_every_argument_is_tried_here():
    allowed = {key.removeprefix("trainer.") for key in SETTINGS if key.startswith("trainer.")}
    assert allowed == OTHERS | set(SAME) | CHANGING


@pytest.mark.parametrize("name", SAME)
def test_it_changes_no_number(config, once, tmp_path, name):
    plain = once("plain", config())
    train(config(f"+trainer.{name}={SAME[name]}"), tmp_path / "run")
    assert rows(tmp_path / "run") == rows(plain)
    metrics, expected = read_metrics(tmp_path / "run"), read_metrics(plain)
    assert metrics["metrics"] == expected["metrics"]
    assert metrics["best_sha256"] == expected["best_sha256"]


def trained(cfg, folder, monkeypatch):
    """Train; return the run and the batches that it has trained on."""
    seen, step = [], Learner.training_step

    def noted(self, batch, batch_idx):
        seen.append(sorted(batch[0].flatten(1).double().sum(1).tolist()))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "training_step", noted)
    return train(cfg, folder), seen


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (2, 1), (4, 1), (6, 2), (7, 2)])
def test_max_steps_ends_with_a_validated_epoch(config, once, tmp_path, monkeypatch, steps, epochs):
    """4 steps are an epoch: after 6, half of the second epoch is trained, validated and kept."""
    folder = tmp_path / "run"
    _, seen = trained(config(f"+trainer.max_steps={steps}", "sched=constant"), folder, monkeypatch)
    assert len(seen) == steps
    metrics, history = read_metrics(folder), rows(folder)
    assert (metrics["status"], metrics["epochs"]) == ("finished", epochs)
    best = history[metrics["best_epoch"] - 1]
    assert float(best["val/acc"]) == metrics["objective"]
    assert all(row["val/loss"] and row["train/loss"] for row in history)
    whole = rows(once("constant", config("sched=constant")))
    assert history[: steps // BATCHES] == whole[: steps // BATCHES]


def test_the_weights_of_max_steps_are_those_that_were_validated(config, tmp_path):
    training = train(config("+trainer.max_steps=2"), tmp_path / "run")
    assert same(load(tmp_path / "run" / BEST)["net"], weights(training))
    with torch.inference_mode():
        data, net = training.data, training.learner.net.eval()
        hits = [
            net(data.preprocess(images, training=False)).argmax(1) == targets
            for images, targets in data.val_dataloader()
        ]
    accuracy = float(torch.cat(hits).double().mean())
    assert read_metrics(tmp_path / "run")["objective"] == pytest.approx(accuracy)


def test_overfit_batches_trains_on_the_same_images_in_each_epoch(config, tmp_path, monkeypatch):
    plain = ["augment=none", "data.load_size=32", "trainer.max_epochs=3"]
    _, seen = trained(config("+trainer.overfit_batches=1", *plain), tmp_path / "one", monkeypatch)
    assert len(seen) == 3
    assert seen[0] == pytest.approx(seen[1])
    assert seen[0] == pytest.approx(seen[2])
    monkeypatch.undo()
    _, seen = trained(config(*plain), tmp_path / "all", monkeypatch)
    assert seen[0] != pytest.approx(seen[BATCHES])


def test_limit_train_batches_takes_other_images_in_each_epoch(config, tmp_path, monkeypatch):
    limit = ["augment=none", "data.load_size=32", "+trainer.limit_train_batches=0.5"]
    _, seen = trained(config(*limit), tmp_path / "run", monkeypatch)
    assert len(seen) == EPOCHS * BATCHES // 2
    assert seen[0] != pytest.approx(seen[2])


def test_fast_dev_run_is_one_batch_of_each_split(config, tmp_path, monkeypatch):
    _, seen = trained(config("+trainer.fast_dev_run=true"), tmp_path / "run", monkeypatch)
    assert len(seen) == 1
    metrics = read_metrics(tmp_path / "run")
    assert (metrics["status"], metrics["epochs"]) == ("finished", 1)
    assert {"train/loss", "val/loss", "test/loss"} <= set(metrics["metrics"])


def test_max_time_ends_with_a_validated_epoch(config, tmp_path):
    """It would take minutes."""
    long = ["trainer.max_epochs=5000", "optim.lr=1e-9", "sched=constant"]
    train(config("+trainer.max_time='00:00:00:01'", *long), tmp_path / "run")
    metrics, history = read_metrics(tmp_path / "run"), rows(tmp_path / "run")
    assert metrics["status"] == "finished"
    assert 1 <= metrics["epochs"] == len(history) < 5000
    assert all(row["val/loss"] for row in history)


def test_clipping_by_value_bounds_each_gradient(config, tmp_path):
    """Steps of plain SGD are at most the rate times the bound."""
    plain = ["optim.momentum=0.0", "optim.lr=1.0", "sched=constant", "+trainer.max_steps=1"]
    by_value = ["trainer.gradient_clip_val=1e-4", "+trainer.gradient_clip_algorithm=value"]
    clipped = weights(train(config(*plain, *by_value), tmp_path / "run"))
    start = weights(train(config(*plain, "optim.lr=1e-30"), tmp_path / "start"))
    moved = max(float((clipped[name] - start[name]).abs().max()) for name in start)
    assert moved == pytest.approx(1e-4, rel=1e-2)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_fraction_of_less_than_a_batch_is_refused(config, tmp_path, split):
    with pytest.raises(ValueError, match=rf"limit_{split}_batches=0\.01: less than one of the"):
        train(config(f"+trainer.limit_{split}_batches=0.01"), tmp_path / "run")
