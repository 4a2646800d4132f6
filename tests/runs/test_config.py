"""A config read back is the config that was written, and nothing foreign is ever called."""

import json

import pytest
from omegaconf import OmegaConf

from alexlab.performance import devices
from alexlab.runs import config as run_config
from alexlab.runs.config import (
    CONF,
    compose_config,
    flatten,
    hparams,
    read,
    read_to_resume,
    settings_of_run,
    shown_settings,
    to_plain,
    write,
)
from alexlab.runs.folder import CONFIG


@pytest.fixture
def run(tmp_path):
    cfg = OmegaConf.create(
        {
            "act": "relu",
            "resume": None,
            "trainer": {"max_epochs": 3},
            "model": {"_target_": "alexlab.models.alexnet.AlexNet", "act": "${act}"},
        }
    )
    write(cfg, tmp_path)
    return tmp_path


def test_it_comes_back_resolved(run):
    assert read(run).model.act == "relu"


def test_a_foreign_target_is_refused_by_name(run):
    with (run / "config.yaml").open("a") as file:
        file.write("extra: [{_target_: os.system, command: 'touch /tmp/owned'}]\n")
    with pytest.raises(ValueError, match=r"os\.system"):
        read(run)


def test_a_tag_that_would_build_an_object_is_refused(run):
    (run / "config.yaml").write_text("a: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ValueError, match="a tag in line 1"):
        read(run)


def test_no_run_folder_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.yaml"):
        read(tmp_path)


def test_a_resume_may_train_longer_and_nothing_else(run):
    assert read_to_resume(run, ["resume=x", "trainer.max_epochs=9"]).trainer.max_epochs == 9
    with pytest.raises(
        ValueError, match=r"act=tanh: resume=.* continues a run with its own settings"
    ):
        read_to_resume(run, ["resume=x", "act=tanh"])


def test_flat():
    assert flatten({"a": {"b": 1, "c": None}, "d": [1]}) == {"a.b": 1, "a.c": "None", "d": "[1]"}


def test_the_settings_of_a_sweep_are_not_written(compose, tmp_path):
    write(compose("sweep.storage=postgresql://me:secret@host/db"), tmp_path)
    assert "sweep" not in read(tmp_path)
    assert "secret" not in (tmp_path / CONFIG).read_text()


def test_a_run_of_version_0_1_is_refused_as_one(run):
    with (run / CONFIG).open("a") as file:
        file.write("jobs: null\ntrial: null\n")
    with pytest.raises(
        ValueError, match=r"config\.yaml: made by version 0\.1, .*train the run again"
    ):
        read(run)


def test_hparams_are_the_settings_that_can_change_a_result():
    config = {
        "act": "relu",
        "seed": 3,
        "model": {"_target_": "alexlab.models.alexnet.AlexNet", "act": "relu", "norm": "lrn"},
        "data": {"_target_": "x.Data", "name": "tiny", "root": "/r", "cache_dir": "/c", "seed": 3},
        "task": {"_target_": "x.Classification", "mixup": 0.2},
        "optim": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1},
        "sched": {},
        "augment": {"_target_": "x.Augment", "flip": 0.5, "crop": True},
        "trainer": {"max_epochs": 2, "precision": "auto", "devices": 1},
        "ema_decay": None,
        "test_crops": [1],
    }
    assert hparams(config) == {
        **{"model": "AlexNet", "task": "Classification", "optim": "SGD"},
        **{"act": "relu", "seed": 3, "ema_decay": "None"},
        **{"model.act": "relu", "model.norm": "lrn", "data.name": "tiny", "task.mixup": 0.2},
        **{"optim.lr": 0.1, "augment.flip": 0.5, "augment.crop": True},
        **{"trainer.max_epochs": 2, "trainer.precision": "auto"},
    }


def test_tensorboard_is_told_what_tells_a_run_from_others(compose, tmp_path):
    config = to_plain(compose("model=alexnet", "act=tanh"))
    single = shown_settings(config, None)
    assert single == {
        **{"model": "AlexNet", "data": "shapes", "act": "tanh", "optim": "SGD"},
        **{"optim.lr": 0.01, "data.batch_size": 16, "seed": 0},
    }
    assert shown_settings(config, tmp_path) == single  # a sweep of another sweeper
    about = {"recipes": {"a": {"act": "tanh"}, "b": {"act": "relu", "model.dropout": 0.1}}}
    sweep = {"version": 1, "axes": {"recipe": ["a", "b"], "seed": ["0", "1"]}, "about": about}
    (tmp_path / "sweep.yaml").write_text(json.dumps(sweep))
    expected = {"recipe": "a", "seed": 0, "act": "tanh", "model.dropout": 0.5}
    assert shown_settings({**config, "recipe": "a"}, tmp_path) == expected


def test_secrets_of_loggers_are_not_told(compose):
    config = to_plain(compose("logger=mlflow"))
    config["logger"]["mlflow"]["tracking_uri"] = "https://me:secret@host"
    assert "secret" not in str(shown_settings(config, None))


def test_precision_and_effective_batch_size_are_settings_that_identify_a_run(compose, monkeypatch):
    """Two GPUs of compute capability 9.0; the sweep's identity ignores trainer.devices itself."""
    monkeypatch.setattr(devices, "_torch_build", lambda: "cuda")
    monkeypatch.setattr(devices, "_compute_capabilities", lambda: [9.0, 9.0])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    batch = ["data.batch_size=8", "trainer.accumulate_grad_batches=3"]
    seen = {}
    for overrides in ([], ["trainer.devices=2"], ["trainer.devices=2", "+trainer.num_nodes=4"]):
        config = to_plain(compose(*batch, *overrides))
        seen[len(overrides)] = config["trainer"]["precision"], config["effective_batch_size"]
    assert seen == {0: ("bf16-mixed", 24), 1: ("bf16-mixed", 48), 2: ("bf16-mixed", 192)}
    assert to_plain(compose("trainer.accelerator=cpu"))["trainer"]["precision"] == "32-true"
    ignored = OmegaConf.load(CONF / "hydra/sweeper/study.yaml").ignore
    assert "trainer.devices" in ignored
    assert not {"trainer.precision", "trainer", "effective_batch_size"} & set(ignored)


@pytest.fixture
def own_files(tmp_path, monkeypatch):
    """A folder of config files as a package or --config-dir has them, with a group of its own."""
    monkeypatch.setattr(run_config, "_config_dirs", [tmp_path])
    (tmp_path / "distillation").mkdir()
    (tmp_path / "distillation/soft.yaml").write_text("temperature: 4\n")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/long.yaml").write_text("# @package _global_\nteacher:\n  of: 3\n")
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim/slow.yaml").write_text("_target_: torch.optim.SGD\nlr: ${slowness}\n")


@pytest.mark.parametrize(
    "overrides",
    [
        ["+k=0.5", "model=alexnet", "model.width=${k}"],  # a number that is written once
        ["+trainer.max_steps=4"],
        ["+optim.nesterov=true"],
        ["+sweep.grace_s=1"],  # of the sweeper, not in conf/train.yaml
        ["study=demo", "+study.axes.act='relu,tanh'"],
        ["+callbacks.mine={_target_: lightning.pytorch.callbacks.Timer}"],
        ["+hydra.job.chdir=false"],
        ["+distillation=soft"],
        ["+distillation=soft", "+distillation.alpha=1"],
        ["+recipes=long", "+teacher.to=5"],
        ["+slowness=0.5", "optim=slow"],
    ],
    ids=" ".join,
)
def test_a_key_that_something_reads_may_be_added(own_files, overrides):
    compose_config(overrides)


def test_a_resume_may_have_another_logger_but_no_other_augmentation(compose):
    before = settings_of_run(compose("logger=csv"))
    assert settings_of_run(compose("logger=[tensorboard,mlflow]", "data.root=elsewhere")) == before
    assert settings_of_run(compose("augment=flip")) != before
