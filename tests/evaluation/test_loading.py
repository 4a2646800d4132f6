"""A net rebuilt from its run's folder is the net that was tested."""

import csv
import json
import shutil

import pytest
import torch
from torchvision.transforms.v2.functional import ten_crop

from alexlab.evaluation import loading
from alexlab.evaluation.inference import predict_all
from alexlab.runs import locate
from alexlab.runs.folder import BEST, CONFIG, METRICS, RunFolder, read_metrics
from alexlab.training.run import TrainingRun


@pytest.fixture(scope="module")
def config(image_folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return [
        *["data=folder", f"data.root={image_folder}", "data.resolution=32", "data.load_size=36"],
        *["data.batch_size=3", "model=small_cnn", "trainer.max_epochs=1", f"cache_dir={cache}"],
    ]


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """A finished run with 1, 10 and 144 test crops."""
    from hydra import compose, initialize_config_dir

    from alexlab.runs.config import CONF

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [*config, "test_crops=[1,10,144]"])
    folder = tmp_path_factory.mktemp("runs") / "run"
    with RunFolder(folder, keep=True) as opened:
        TrainingRun(cfg, opened.path, opened.record, trial=False).run()
    return folder


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def test_the_rebuilt_net_scores_what_the_run_reported(run):
    net = loading.load_run(run, torch.device("cpu"))
    data = net.data()
    rows = data.indices["test"]
    hits = net.predict(data.images[rows]).argmax(1) == data.targets[rows]
    metrics = read_metrics(run)["metrics"]
    assert hits.float().mean().item() == pytest.approx(metrics["test/acc"])
    assert net.classes == ["blue", "green", "red"]
    assert net.checkpoint["metrics"]["val/acc"] == metrics["val/acc"]
    assert not net.net.training


def test_ten_crops_are_torchvisions_of_what_training_stores(run):
    net = loading.load_run(run, torch.device("cpu"))
    data = net.data()
    rows = data.indices["test"]
    views = torch.stack(ten_crop(data.images[rows], [32, 32]), 1)  # [N, 10, 3, 32, 32]
    expected = net.predict(views.flatten(0, 1)).view(len(rows), 10, 3).mean(1)
    found = predict_all(data.cache.paths(rows), net.crops(10), net.predict)
    assert torch.allclose(found, expected, atol=1e-6)
    acc = (expected.argmax(1) == data.targets[rows]).float().mean().item()
    assert read_metrics(run)["metrics"]["test/acc_10_crops"] == pytest.approx(acc)


def test_more_crops_are_reported_beside_the_ordinary_test(run):
    metrics = read_metrics(run)["metrics"]
    plain = {name for name in metrics if name.startswith("test/") and "_crops" not in name}
    assert plain == {f"test/{m}" for m in ("loss", "acc", "top1_error", "f1")}
    for number in (10, 144):
        names = {f"{m}_{number}_crops" for m in ("acc", "top1_error", "f1", "seconds")}
        assert names == {n[5:] for n in metrics if n.endswith(f"_{number}_crops")}
    assert "10 crops of 32 px from squares of 36 px: test/acc " in (run / "train.log").read_text()


def test_an_unknown_number_of_crops_is_said_before_anything_is_written(config, compose, tmp_path):
    with pytest.raises(ValueError, match=r"test_crops=.*1, 10 or 144"):
        TrainingRun(compose(*config, "test_crops=[1,5]"), tmp_path, {}, trial=False)


def test_published_weights_are_not_needed_again(copy, compose, config):
    cfg = compose(
        *config, "model=pretrained", "model.name=mobilenet_v3_small", "model.weights=none"
    )
    from alexlab import factory
    from alexlab.runs import config as run_config
    from alexlab.runs.checkpoint import checksum, load, save
    from alexlab.training import build

    cfg.model.freeze = "all"
    net = build.learner(cfg, factory.data_module(cfg)).net
    checkpoint = load(copy / BEST)
    save({**checkpoint, "net": net.state_dict()}, copy / BEST)
    metrics = json.loads((copy / METRICS).read_text())
    (copy / METRICS).write_text(json.dumps({**metrics, "best_sha256": checksum(copy / BEST)}))
    cfg.model.weights = "/nowhere/published.pth"
    run_config.write(cfg, copy)
    rebuilt = loading.load_run(copy, torch.device("cpu")).net
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(rebuilt(images), net.eval()(images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: shutil.rmtree(run), "no such folder"),
        (lambda run: (run / CONFIG).unlink(), "is not a run folder"),
        (lambda run: (run / METRICS).unlink(), "interrupted; continue it with .*resume="),
        (
            lambda run: (run / METRICS).write_text('{"status": "failed"}'),
            "has not finished, its status is failed$",
        ),
        (lambda run: (run / METRICS).write_text('{"status": "stopped"}'), "stopped; continue"),
        (lambda run: (run / BEST).unlink(), "sweep.keep_best=null"),
        (
            lambda run: (run / BEST).write_bytes((run / BEST).read_bytes()[:5000]),
            "cut short|damaged",
        ),
        (lambda run: (run / "trials.csv").write_text("number\n"), "is a sweep.*best:"),
        (
            lambda run: (run / CONFIG).write_text("model: {_target_: os.system}"),
            r"'model._target_' must not be 'os.system'",
        ),
    ],
)
def test_what_cannot_be_used_is_said(copy, change, message):
    change(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        loading.load_run(copy)


@pytest.mark.parametrize(
    ("direction", "kept", "best"),
    [("maximize", "abc", "c"), ("minimize", "abc", "a"), ("maximize", "ab", "b")],
)
def test_the_best_run_of_a_sweep_is_the_best_that_was_kept(tmp_path, direction, kept, best):
    rows = [("finished", 0.1, "a"), ("finished", 0.2, "b"), ("finished", 0.9, "c")]
    rows += [("failed", "", "d"), ("pruned", 0.95, "e")]
    with (tmp_path / "trials.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("state", "objective", "folder"), *rows])
    (tmp_path / "sweep.yaml").write_text(json.dumps({"version": 1, "directions": [direction]}))
    for name in [*kept, "d", "e"]:
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / BEST).touch()
    assert locate.resolve_run_dir(f"best:{tmp_path}") == tmp_path / best


def test_other_classes_are_refused_with_what_differs_and_the_same_are_taken(
    run, image_folder, tmp_path
):
    net = loading.load_run(run, torch.device("cpu"))
    other = shutil.copytree(image_folder, tmp_path / "other")
    (other / "red/0.png").unlink()
    assert net.data([f"root={other}"]).indices["test"].size
    (other / "red").rename(other / "pink")
    with pytest.raises(ValueError, match="than the run; missing: red; unknown: pink"):
        net.data([f"data.root={other}"])
    with pytest.raises(ValueError, match=r"data.resolution: no such setting.*root"):
        net.data(["resolution=64"])
