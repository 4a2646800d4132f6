"""A run's folder holds one run: what would make another run of it is refused, and it stays."""

import shutil
import sys

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from alexlab.commands.train import main
from alexlab.runs import config as run_config
from alexlab.runs.config import add_config_dir, config_folders, read
from alexlab.runs.folder import RunFolder, read_history, read_metrics
from alexlab.training.run import TrainingRun
from tests.tiny import in_child, without_notices


@pytest.fixture
def train(monkeypatch, tmp_path, image_folder):
    """train("act=tanh", ...): `alexlab train ...` of a small net, in this process and tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATA_DIR", raising=False)
    small = ["data=folder", f"data.root={image_folder}", "data.resolution=32", "data.batch_size=4"]

    def call(*words, small=small):
        monkeypatch.setattr(sys, "argv", ["train", *words, *small])
        main()

    return call


@pytest.fixture
def resume(train):
    return lambda *words: train(*words, small=[])


def contents(run):
    """Every file but train.log, which may say more."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name != "train.log"]
    return {path: path.read_bytes() for path in files}


@pytest.fixture
def refused(capfd):
    """refused(call): the message of a call that exits with 1."""

    def call(function):
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            function()
        assert exit_.value.code == 1
        told = without_notices(capfd.readouterr().err)
        assert told.startswith("error: ")
        assert len(told.splitlines()) <= 2
        return told

    return call


@pytest.fixture
def finished(train, tmp_path):
    """The folder of a finished run of two epochs."""
    train("trainer.max_epochs=2", "hydra.run.dir=run")
    return tmp_path / "run"


def test_another_run_is_refused_in_the_folder_of_a_run(train, finished, refused):
    before = contents(finished)
    for others, named in {
        "trainer.max_epochs=3 optim.lr=0.5 act=tanh seed=7": "act relu -> tanh, seed 0 -> 7",
        "trainer.max_epochs=2 optim=adam": "optim._target_ torch.optim.SGD -> torch.optim.Adam",
        "trainer.max_epochs=2 +optim.nesterov=true": "optim.nesterov absent -> True",
        "trainer.max_epochs=2 augment=flip": "augment.flip 0.0 -> 0.5",
    }.items():
        told = refused(lambda o=others: train(*o.split(), "hydra.run.dir=run"))
        assert "run holds another run (" in told
        assert named in told
        assert "resume=run" in told
        assert contents(finished) == before


def test_a_checkpoint_of_another_run_is_refused(train, resume, alexlab, finished, refused):
    """Both nets have the same shapes: nothing else would tell."""
    train("trainer.max_epochs=2", "act=tanh", "seed=7", "hydra.run.dir=other")
    other = finished.with_name("other") / "checkpoints"
    shutil.copy(other / "best.ckpt", finished / "checkpoints")
    told = refused(lambda: alexlab("export", finished, "--format", "torch_export"))
    assert "best.ckpt is not the file that this run wrote" in told
    shutil.copy(other / "last.ckpt", finished / "checkpoints")
    before = contents(finished)
    told = refused(lambda: resume("resume=run", "trainer.max_epochs=3"))
    assert "last.ckpt is of another run (model.act tanh -> relu, data.seed 7 -> 0, act" in told
    assert contents(finished) == before


def test_the_same_command_continues_a_run_that_was_interrupted(train, finished):
    rows = read_history(finished)
    (finished / "metrics.json").unlink()
    train("trainer.max_epochs=2", "hydra.run.dir=run", "save_every_s=7")  # changes no result
    assert read_metrics(finished)["status"] == "finished"
    assert read_history(finished) == rows


@pytest.mark.parametrize(
    "name", ["metrics.json", "history.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt"]
)
def test_a_folder_with_a_file_of_a_run_without_its_config_is_refused(
    train, tmp_path, refused, name
):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    told = refused(lambda: train("hydra.run.dir=run"))
    assert f"run has {name} of another run, without its config.yaml" in told
    assert contents(tmp_path / "run") == {path: b"{}"}


@pytest.mark.parametrize("name", ["sweep.yaml", "trials.csv"])
def test_the_folder_of_a_sweep_takes_no_run(train, tmp_path, refused, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("")
    assert "run is the folder of a sweep" in refused(lambda: train("hydra.run.dir=run"))


def test_a_config_yaml_of_something_else_is_not_overwritten(train, tmp_path, refused):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text("colour: blue\nmodel: T\n")
    refused(lambda: train("hydra.run.dir=run"))
    assert (tmp_path / "run/config.yaml").read_text() == "colour: blue\nmodel: T\n"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("trainer.max_epochs=1", "trainer.max_epochs=1: run has trained 2 epochs already"),
        ("trainer.max_epochs=abc", "trainer.max_epochs=abc: must be a whole number"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: must be a whole number"),
        ("save_every_s=-1", "save_every_s=-1: must be a number of at least 0"),
        ("act=tanh", "act=tanh: resume=run continues a run with its own settings"),
        ("data.root=nowhere", "no folder nowhere"),
    ],
)
def test_a_resume_that_cannot_work_leaves_a_finished_run_as_it_was(
    resume, finished, refused, override, named
):
    before = contents(finished)
    assert named in refused(lambda: resume("resume=run", override))
    assert contents(finished) == before
    resume("resume=run", "trainer.max_epochs=3")
    assert read_metrics(finished)["epochs"] == 3


@pytest.mark.parametrize("where", ["checkpoints/last.ckpt", "checkpoints", "config.yaml"])
def test_a_file_of_a_run_is_understood_as_its_run(resume, finished, where):
    resume(f"resume=run/{where}", "trainer.max_epochs=3")
    assert read_metrics(finished)["epochs"] == 3
    assert not (finished / "checkpoints/config.yaml").exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("run/checkpoints/best.ckpt", "this command uses last.ckpt; give run"),
        ("file", "file: not a file of a run; give RUN_DIR"),
        ("checkpoints", "checkpoints is not a run folder: it has no config.yaml"),
    ],
)
def test_a_resume_of_something_else_is_refused(resume, finished, refused, name, told):
    (finished.parent / "file").write_text("")
    (finished.parent / "checkpoints").mkdir()
    before = contents(finished)
    assert told in refused(lambda: resume(f"resume={name}"))
    assert contents(finished) == before


def test_other_verbs_understand_best_ckpt_as_its_run(alexlab, finished, image_folder, capsys):
    told = []
    for place in (finished, finished / "checkpoints/best.ckpt"):
        capsys.readouterr()
        with pytest.raises(SystemExit, match="0"):
            alexlab("predict", place, image_folder / "red/0.png")
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] != ""
    with pytest.raises(SystemExit, match="1"):
        alexlab("predict", finished / "checkpoints/last.ckpt", image_folder / "red/0.png")
    assert "this command uses best.ckpt" in capsys.readouterr().err


def test_an_error_before_anything_is_trained_leaves_a_finished_run(resume, finished, monkeypatch):
    """Such as one of the device, or of a library that cannot restore the checkpoint."""
    before = contents(finished)

    def fail(*args, **kwargs):
        raise RuntimeError("no such device")

    monkeypatch.setattr("lightning.pytorch.Trainer.fit", fail)
    with pytest.raises(SystemExit):
        resume("resume=run", "trainer.max_epochs=3")
    events = {path for path in contents(finished) if "events" in path.name}
    assert {p: c for p, c in contents(finished).items() if p not in events} == {
        p: c for p, c in before.items() if p not in events
    }
    assert "no such device" in (finished / "train.log").read_text()


def test_an_error_after_an_epoch_is_recorded(resume, finished, monkeypatch):
    """What was trained on top of a finished run has failed; the run is no longer finished."""
    trained = TrainingRun.run

    def fail_later(self):
        trained(self)
        raise RuntimeError("late")

    monkeypatch.setattr(TrainingRun, "run", fail_later)
    with pytest.raises(SystemExit):
        resume("resume=run", "trainer.max_epochs=3")
    assert read_metrics(finished)["status"] == "failed"


def test_a_run_that_failed_before_stays_failed_and_is_tried_again(tmp_path):
    with pytest.raises(ValueError, match="one"), RunFolder(tmp_path, keep=True):
        raise ValueError("one")
    with pytest.raises(ValueError, match="two"), RunFolder(tmp_path, keep=True):
        raise ValueError("two")
    assert read_metrics(tmp_path)["status"] == "failed"


# -- moved data


def test_a_resume_finds_data_that_moved(resume, train, tmp_path, image_folder, refused):
    shutil.copytree(image_folder, tmp_path / "images")
    train("trainer.max_epochs=1", f"data.root={tmp_path}/images", "hydra.run.dir=run", small=SMALL)
    (tmp_path / "images").rename(tmp_path / "moved here")
    told = refused(lambda: resume("resume=run", "trainer.max_epochs=2"))
    assert "set data.root" in told
    resume("resume=run", "trainer.max_epochs=2", f"data.root='{tmp_path}/moved here'")
    assert read_metrics(tmp_path / "run")["epochs"] == 2
    assert read(tmp_path / "run").data.root == f"{tmp_path}/moved here"


def test_a_resume_takes_no_other_data(resume, finished, tmp_path, image_folder, refused):
    shutil.copytree(image_folder, tmp_path / "other")
    (tmp_path / "other/red/0.png").unlink()
    before = contents(finished)
    told = refused(lambda: resume("resume=run", f"data.root={tmp_path}/other"))
    assert "on other data: its fingerprint" in told
    assert contents(finished) == before


SMALL = ["data=folder", "data.resolution=32", "data.batch_size=4"]


# -- a user's own --config-dir


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with an optimiser of the user's own; none is known at first."""
    monkeypatch.setattr(run_config, "_config_dirs", [])
    (tmp_path / "own/optim").mkdir(parents=True)
    text = "_target_: torch.optim.NAdam\n_partial_: true\nlr: 0.002\n"
    (tmp_path / "own/optim/nadam.yaml").write_text(text)
    return tmp_path / "own"


def test_a_run_of_the_user_s_own_optimiser_can_be_used_with_its_config_dir(
    train, resume, alexlab, own, tmp_path, image_folder, refused
):
    train(f"--config-dir={own}", "optim=nadam", "trainer.max_epochs=1", "hydra.run.dir=run")
    HydraConfig.instance().cfg = None  # each of the next commands has a process of its own
    run_config._config_dirs.clear()
    run, before = tmp_path / "run", contents(tmp_path / "run")
    uses = {
        "predict": [image_folder / "red/0.png"],
        "evaluate": [],
        "export": ["--format", "torch_export"],
        "look": [],
        "rerun": ["--into", tmp_path / "again"],
    }
    for verb, words in uses.items():
        told = refused(lambda v=verb, w=words: alexlab(v, run, *w))
        assert "'optim._target_' must not be 'torch.optim.NAdam'" in told
        assert "give the same --config-dir" in told
    assert "give the same --config-dir" in refused(lambda: resume("resume=run"))
    assert contents(run) == before
    for verb, words in uses.items():
        code = in_child(lambda v=verb, w=words: alexlab(v, "--config-dir", own, run, *w))
        assert code == 0, verb
    resume(f"--config-dir={own}", "resume=run", "trainer.max_epochs=2")
    assert read_metrics(run)["epochs"] == 2


def test_a_config_dir_allows_what_is_in_it_at_its_place_and_nothing_else(own, tmp_path):
    add_config_dir(str(own))
    assert own in config_folders()
    config = {"optim": {"_target_": "torch.optim.NAdam"}}
    run_config.refuse_foreign_calls(config, tmp_path)
    with pytest.raises(ValueError, match=r"'task\._target_' must not be 'torch\.optim\.NAdam'"):
        run_config.refuse_foreign_calls({"task": config["optim"]}, tmp_path)
    with pytest.raises(ValueError, match=r"--config-dir nowhere: no such folder"):
        add_config_dir("nowhere")


def test_explain_and_lr_find_know_the_config_dir(alexlab, own, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    small = ["data.num_images=100", "data.resolution=32"]
    alexlab("lr-find", "--config-dir", own, "optim=nadam", *small, "--steps", 20, "--high", 0.1)
    assert "optim.lr=" in capsys.readouterr().out


# -- runs of an older version


@pytest.mark.parametrize(
    "missing",
    [
        *("test_crops", "fit_metrics", "augment", "direction objective", "data.load_size", "sched"),
        *("trainer.auto_batch", "effective_batch_size", "data.cache data.fit", "patience"),
    ],
)
def test_a_run_of_an_older_version_has_the_defaults_of_what_it_lacks(resume, finished, missing):
    path = finished / "config.yaml"
    whole = yaml.safe_load(path.read_text())
    config = yaml.safe_load(path.read_text())
    for key in missing.split():
        node, _, name = key.rpartition(".")
        del (config[node] if node else config)[name]
    path.write_text(yaml.safe_dump(config))
    assert run_config.to_plain(read(finished)) == whole
    resume("resume=run", "trainer.max_epochs=3")
    assert read_metrics(finished)["epochs"] == 3


def test_the_message_of_a_version_that_cannot_be_read_names_it(resume, finished, refused):
    with (finished / "config.yaml").open("a") as file:
        file.write("trial: null\n")
    told = refused(lambda: resume("resume=run"))
    assert "made by version 0.1, which this version cannot read" in told
