"""One training, in this process, on a few generated images."""

import csv
import re
import shutil

import pytest
import torch
from omegaconf import OmegaConf

from alexlab.runs.checkpoint import load, save
from alexlab.runs.folder import BEST, LAST, Stopped, read_history, read_metrics
from alexlab.training import build
from alexlab.training.run import TrainingRun
from tests.tiny import BATCHES, EPOCHS, rows, same, train, weights


@pytest.fixture
def unbroken(config, once):
    folder = once("plain", config())
    return load(folder / BEST)["net"], rows(folder)


@pytest.mark.parametrize("batch", range(1, EPOCHS * BATCHES + 1))
def test_a_stop_at_any_batch_changes_nothing(config, tmp_path, unbroken, batch):
    """At the last batch of an epoch too; dropout, crops, flips and colour draws are all on."""
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        train(config(), folder, stop_after=batch)
    assert read_metrics(folder)["status"] == "stopped"
    resumed = train(config(), folder)
    assert same(weights(resumed), unbroken[0])
    assert rows(folder) == unbroken[1]
    assert read_metrics(folder)["status"] == "finished"


def test_the_same_seed_gives_the_same_metrics_and_another_does_not(config, tmp_path, unbroken):
    again = train(config(), tmp_path / "again")
    assert same(weights(again), unbroken[0])
    assert rows(tmp_path / "again") == unbroken[1]
    other = train(config("seed=1"), tmp_path / "other")
    assert not same(weights(other), unbroken[0])


def test_dropout_draws_what_the_seed_of_the_run_gives(config, tmp_path):
    """Expected: the draws of seed 1, epoch 2 and batch 3 (each from 0) in test_step_seeding.py."""
    drawn = []

    def draw(_):
        generator = torch.Generator()
        generator.set_state(torch.get_rng_state())
        drawn.append(torch.rand(2, dtype=torch.float64, generator=generator).tolist())

    cfg = config("seed=1", "augment=none", "data.load_size=32", "trainer.max_epochs=3")
    train(cfg, tmp_path / "run", at_batch=draw)
    expected = [0.7200684580902984, 0.6928925331252977]
    assert drawn[2 * BATCHES + 3] == pytest.approx(expected, rel=1e-10)


def test_the_line_of_an_epoch_has_the_metric_of_the_objective(config, tmp_path, capsys):
    train(config("trainer.max_epochs=1"), tmp_path / "run")
    (row,) = read_history(tmp_path / "run")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    for split in ("train", "val"):
        acc = 100 * float(row[f"{split}/acc"])
        assert re.search(rf"{split} loss [\d.]+ acc {acc:.1f}%", line)


def test_the_run_folder_is_as_designed(config, tmp_path):
    train(config(), tmp_path / "run")
    names = {p.name for p in (tmp_path / "run").iterdir() if not p.name.startswith("events.out")}
    assert names - {"code.diff"} == {
        "config.yaml",
        "metrics.json",
        "history.csv",
        "checkpoints",
        "train.log",
        ".lock",
    }
    metrics = read_metrics(tmp_path / "run")
    keys = "status error objective metrics best_epoch epochs wall_s images_per_s peak_rss_mb"
    keys += " peak_gpu_mb params neurons seed git data_fingerprint versions"
    keys += " images hardware command best_sha256 micro_batch precision effective_batch_size"
    keys += " symptoms"
    assert set(metrics) == set(keys.split())
    assert metrics["images"] == {"train": 12, "val": 3, "test": 3}  # of 6 per class
    assert metrics["objective"] == metrics["metrics"]["val/acc"]
    with (tmp_path / "run/history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["1", "2"]
    best = history[metrics["best_epoch"] - 1]
    assert float(best["val/acc"]) == max(float(row["val/acc"]) for row in history)
    assert float(best["val/loss"]) == metrics["metrics"]["val/loss"]
    config = OmegaConf.load(tmp_path / "run/config.yaml")
    assert config.model.act == "relu"  # resolved
    assert config.trainer.precision == metrics["precision"] == "32-true"
    assert config.effective_batch_size == metrics["effective_batch_size"] == 3


def test_the_effective_batch_size_counts_accumulated_batches(config, tmp_path):
    train(config("trainer.accumulate_grad_batches=2"), tmp_path / "run")
    assert read_metrics(tmp_path / "run")["effective_batch_size"] == 6
    with pytest.raises(ValueError, match="effective_batch_size=5: the other settings give 3"):
        train(config("effective_batch_size=5"), tmp_path / "other")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.precision=bf16-mixed", "trained with precision 32-true, this run has bf16-mixed"),
        ("data.batch_size=4", "trained with effective batch size 3, this run has 4"),
        ("trainer.accumulate_grad_batches=2", "effective batch size 3, this run has 6"),
    ],
)
def test_a_resume_under_other_conditions_is_refused(config, tmp_path, override, message):
    """A sweep composes a trial's config anew, maybe on another machine."""
    train(config("sched=constant"), tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        train(config("sched=constant", "trainer.max_epochs=3", override), tmp_path / "run")


def test_a_resume_on_another_kind_of_device_is_warned_about(config, tmp_path, caplog):
    train(config("sched=constant"), tmp_path / "run")
    path = tmp_path / "run" / LAST
    content = {k: v for k, v in load(path).items() if k != "format"}
    save(content | {"conditions": content["conditions"] | {"device": "cuda"}}, path)
    train(config("sched=constant", "trainer.max_epochs=3"), tmp_path / "run")
    assert "resuming on cpu a run that was trained on cuda" in caplog.text


@pytest.mark.parametrize(
    ("objective", "direction", "pick"),
    [("val/acc", "maximize", max), ("val/loss", "minimize", min), ("train/acc", "maximize", max)],
)
def test_the_best_epoch_is_the_first_with_the_best_objective(
    config, tmp_path, objective, direction, pick
):
    overrides = [f"objective={objective}", f"direction={direction}", "trainer.max_epochs=5"]
    train(config(*overrides), tmp_path / "run")
    values = [float(row[objective]) for row in read_history(tmp_path / "run")]
    metrics = read_metrics(tmp_path / "run")
    assert metrics["objective"] == pick(values)
    assert metrics["best_epoch"] == values.index(pick(values)) + 1


def test_best_holds_the_tested_weights_only_and_a_trial_keeps_no_last(config, tmp_path):
    training = train(config(), tmp_path / "run", trial=True)
    assert not (tmp_path / "run" / LAST).exists()
    best = load(tmp_path / "run/checkpoints/best.ckpt")
    assert same(best["net"], weights(training))
    assert set(best) == {"format", "classes", "fingerprint", "epoch", "score", "metrics", "net"}


def test_a_resume_on_other_classes_or_other_images_is_refused(
    config, tmp_path, image_folder, compose
):
    train(config("sched=constant"), tmp_path / "run")
    longer = ["sched=constant", "trainer.max_epochs=3"]
    with pytest.raises(ValueError, match=r"classes was \['blue', 'green', 'red'\], but now"):
        train(config(*longer, "data.classes=[blue,red]"), tmp_path / "run")
    other = tmp_path / "images"
    shutil.copytree(image_folder, other)
    (other / "red/0.png").unlink()
    with pytest.raises(ValueError, match="fingerprint was"):
        train(config(*longer, f"data.root={other}"), tmp_path / "run")


def test_a_finished_run_can_be_trained_longer(config, tmp_path):
    once = train(config("trainer.max_epochs=3", "sched=constant"), tmp_path / "once")
    train(config("sched=constant"), tmp_path / "twice")
    longer = train(config("trainer.max_epochs=3", "sched=constant"), tmp_path / "twice")
    assert rows(tmp_path / "twice") == rows(tmp_path / "once")
    assert same(weights(longer), weights(once))


def test_ema_validates_and_keeps_the_average(config, tmp_path):
    """With a decay of 0 the average is the weights: the same as without."""
    plain = train(config(), tmp_path / "plain")
    zero = train(config("ema_decay=0.0"), tmp_path / "zero")
    assert same(weights(plain), weights(zero))
    slow = train(config("ema_decay=0.999"), tmp_path / "slow")
    assert not same(weights(plain), weights(slow))


def test_no_average_of_weights_that_cannot_hold_it(config, tmp_path):
    with pytest.raises(ValueError, match=r"ema_decay=0\.999: .*bf16-mixed or 32-true"):
        train(config("ema_decay=0.999", "trainer.precision=bf16-true"), tmp_path / "run")


def test_patience_stops_early(config, tmp_path):
    overrides = ["optim.lr=1e-12", "patience=2", "trainer.max_epochs=9"]
    train(config(*overrides, "sched=constant"), tmp_path / "run")
    assert read_metrics(tmp_path / "run")["epochs"] == 3  # the first, and two without improvement


def test_a_loss_that_is_no_number_fails_the_run_with_its_place(config, tmp_path):
    with pytest.raises(FloatingPointError, match=r"epoch 1, step 2, .*lower optim\.lr"):
        train(config("optim.lr=1e30", "sched=constant"), tmp_path / "run")
    assert read_metrics(tmp_path / "run")["status"] == "failed"


def test_a_net_learns_twelve_images_by_heart(compose, image_folder, tmp_path):
    cfg = compose(
        *["data=folder", f"data.root={image_folder}", "data.resolution=32", "data.batch_size=12"],
        *["model=small_cnn", "trainer.max_epochs=40", "optim=adam", "optim.lr=0.003"],
        f"cache_dir={tmp_path}/.cache",
    )
    train(cfg, tmp_path / "run")
    assert float(read_history(tmp_path / "run")[-1]["train/acc"]) == 1.0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.max_epochs=0", "trainer.max_epochs=0: must be a whole number of at least 1"),
        ("optim.lr=0", "optim.lr=0.*greater than 0"),
        ("objective=val/nonsense", "val/nonsense: unknown; .*choose from .*val/acc"),
        ("direction=up", "direction=up: unknown.*maximize"),
        ("trainer.precision=8bit", "8bit"),
    ],
)
def test_an_impossible_setting_is_refused(config, tmp_path, override, message):
    with pytest.raises(Exception, match=message):
        train(config(override), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_net_trains_alike(config, tmp_path):
    """Without dropout, whose draws are other ones in compiled code."""
    for compiled in ("false", "true"):
        train(config("model.dropout_at=none", f"compile={compiled}"), tmp_path / compiled)
    eager, compiled = (read_history(tmp_path / c) for c in ("false", "true"))
    for row, other in zip(eager, compiled, strict=True):
        assert float(other["train/loss"]) == pytest.approx(float(row["train/loss"]), rel=1e-4)
        assert float(other["val/loss"]) == pytest.approx(float(row["val/loss"]), rel=1e-4)


def test_a_run_stopped_in_its_first_epoch_has_no_best_one(config, tmp_path, capsys):
    with pytest.raises(Stopped):
        train(config(), tmp_path / "run", stop_after=1)
    assert "best epoch - of 0" in capsys.readouterr().out


def test_callbacks_are_listed_in_the_order_of_their_calls(config, tmp_path, monkeypatch):
    """Lightning calls a Checkpoint after all others, wherever it stands in the list."""
    listed = []
    made = build.trainer
    monkeypatch.setattr(
        build,
        "trainer",
        lambda cfg, **options: listed.extend(options["callbacks"]) or made(cfg, **options),
    )
    settings = ["ema_decay=0.9", "patience=2", "diagnostics=on", "fit_metrics=true"]
    training = TrainingRun(config(*settings), tmp_path, {}, trial=True)
    assert len(listed) > 14
    assert [one for one in training.trainer.callbacks if one in listed] == listed


def test_tensorboard_does_not_show_where_the_sweep_is_kept(config, tmp_path):
    cfg = config()
    cfg.sweep.storage = "postgresql://me:secret@host/db"
    assert "secret" not in TrainingRun(cfg, tmp_path, {}, trial=True).board.config


@pytest.mark.parametrize(("precision", "rel"), [("64-true", 1e-5), ("bf16-true", 0.02)])
def test_weights_of_another_type_train_alike(config, runs, once, tmp_path, precision, rel):
    """At the first epoch; float64 is the reference for float32."""
    expected = read_history(once("no dropout", config("model.dropout_at=none")))[0]
    cfg = config("model.dropout_at=none", f"trainer.precision={precision}")
    kept = weights(train(cfg, tmp_path / "run"))
    wanted = {"64-true": torch.float64, "bf16-true": torch.bfloat16}[precision]
    assert {tensor.dtype for tensor in kept.values()} == {wanted}
    found = read_history(tmp_path / "run")[0]
    for name in ("train/loss", "val/loss"):
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=rel)
