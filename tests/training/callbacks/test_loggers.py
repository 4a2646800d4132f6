"""Loggers and callbacks that a user chooses: logger=[...] and callbacks=[...]."""

import importlib.util
import sqlite3

import pandas as pd
import pytest
import yaml
from lightning.pytorch.callbacks import ModelSummary

from alexlab.runs import config as run_config
from alexlab.runs.config import CONF, compose_config
from alexlab.runs.folder import read_history, read_metrics
from tests.tiny import rows, same, train, weights


def test_tensorboard_is_the_default_and_several_can_be_chosen():
    assert list(compose_config().logger) == ["tensorboard"]
    assert list(compose_config(["logger=csv"]).logger) == ["csv"]
    assert list(compose_config(["logger=[tensorboard,csv]"]).logger) == ["tensorboard", "csv"]
    assert "logger" not in compose_config(["logger=[]"])
    assert "callbacks" not in compose_config()


def test_csv_has_each_epoch_and_the_test_and_changes_no_result(config, once, tmp_path):
    plain = train(config(), tmp_path / "plain")
    logged = train(config("logger=csv"), tmp_path / "csv")
    assert same(weights(plain), weights(logged))
    assert rows(tmp_path / "plain") == rows(tmp_path / "csv")
    table = pd.read_csv(tmp_path / "csv/csv/metrics.csv")
    assert list(table["step"]) == [1, 2, 3]
    history = read_history(tmp_path / "csv")
    assert [f"{v:.6g}" for v in table["val/acc"][:2]] == [
        f"{float(row['val/acc']):.6g}" for row in history
    ]
    assert table["test/acc"][2] == pytest.approx(
        read_metrics(tmp_path / "csv")["metrics"]["test/acc"]
    )
    assert not list((tmp_path / "csv").glob("events.out.*"))
    assert list((tmp_path / "plain").glob("events.out.*"))
    hparams = yaml.safe_load((tmp_path / "csv/csv/hparams.yaml").read_text())
    assert hparams["optim.lr"] == 0.05


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio", "aim"])
def test_a_logger_that_is_missing_is_an_error_that_names_the_extra(config, tmp_path, name):
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    with pytest.raises(ValueError, match=rf"logger={name} needs an extra: .*\[{name}\]"):
        train(config(f"logger=[tensorboard,{name}]"), tmp_path / "run")
    assert not (tmp_path / "run/config.yaml").exists()


def test_mlflow_offline(config, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra [mlflow] is not installed")
    monkeypatch.chdir(tmp_path)
    train(config("logger=mlflow"), tmp_path / "run")
    with sqlite3.connect("mlflow.db") as database:
        found = database.execute("select key, value, step from metrics").fetchall()
        status = database.execute("select status, name from runs").fetchall()
        params = dict(database.execute("select key, value from params").fetchall())
    history = read_history(tmp_path / "run")
    values = sorted((step, value) for key, value, step in found if key == "val/acc")
    assert [step for step, _ in values] == [1, 2]
    for (_, value), row in zip(values, history, strict=True):
        assert value == pytest.approx(float(row["val/acc"]))
    tested = [value for key, value, _ in found if key == "test/acc"]
    assert tested == [pytest.approx(read_metrics(tmp_path / "run")["metrics"]["test/acc"])]
    assert status == [("FINISHED", "run")]
    assert params["optim.lr"] == "0.05"


def test_trackio_offline(config, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # it is read at the import
    pytest.importorskip("trackio", reason="the extra [trackio] is not installed")
    monkeypatch.chdir(tmp_path)
    train(config("logger=trackio"), tmp_path / "run")
    import trackio

    (run,) = trackio.Api().runs("alexlab")
    assert run.name == "run"


def test_a_callback_of_the_group_is_appended_to_ours(config, tmp_path):
    training = train(config("callbacks=[model_summary]"), tmp_path / "run")
    (added,) = [one for one in training.trainer.callbacks if type(one) is ModelSummary]
    assert added._max_depth == 2
    assert run_config.read(tmp_path / "run").callbacks.model_summary.max_depth == 2
    (tmp_path / "run/config.yaml").write_text(
        (tmp_path / "run/config.yaml")
        .read_text()
        .replace("lightning.pytorch.callbacks.ModelSummary", "os.system")
    )
    with pytest.raises(ValueError, match=r"callbacks\.model_summary\._target_"):
        run_config.read(tmp_path / "run")


def test_a_logger_changes_no_identity_and_an_old_run_had_tensorboard(config, tmp_path):
    sweeper = yaml.safe_load((CONF / "hydra/sweeper/study.yaml").read_text())
    assert "logger" in sweeper["ignore"]
    run_config.write(config(), tmp_path)
    content = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del content["logger"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    assert run_config.read(tmp_path).logger == {"tensorboard": {}}
    run_config.refuse_other_run(config("logger=csv"), tmp_path)  # is the same run
