"""The Python interface: train, load_run, load_sweep, evaluate, report."""

import json
import subprocess
import sys
from functools import partial

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch

import alexlab
from alexlab import evaluate, load_run, load_sweep, report, train
from alexlab.api import Page, _as_text
from alexlab.data.datamodule import ImageFolderData
from alexlab.models.small_cnn import SmallCNN
from alexlab.runs.config import CONF, compose_config
from alexlab.training.module import Learner
from alexlab.training.tasks import Classification
from tests.studies.conftest import make_sweep as make_sweep

SMALL = {
    "model": "small_cnn",
    "data.resolution": 32,
    "data.num_images": 100,
    "trainer.max_epochs": 2,
}


def test_importing_alexlab_is_quick_and_imports_no_torch():
    code = (
        "import alexlab, sys; print([m for m in ('torch', 'pandas', 'hydra') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    env = {"PYTHONPATH": str(CONF.parent / "src"), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = alexlab.trian


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("api")
    folder = place / "run"
    cache = str(place / "cache")
    return train(act="tanh", cache_dir=cache, **{"hydra.run.dir": str(folder)}, **SMALL)


def test_training_from_python_is_that_of_the_command_line(trained, alexlab, tmp_path):
    """The same settings: the same history, to the bit."""
    words = [f"{key}={value}" for key, value in SMALL.items()]
    cache = trained.folder.parent / "cache"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "alexlab", "train", "act=tanh", f"cache_dir={cache}", *words),
            f"hydra.run.dir={tmp_path / 'run'}",
        ],
        env={"PYTHONPATH": str(CONF.parent / "src"), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    other = load_run(tmp_path / "run")
    timed = ["seconds"]
    pd.testing.assert_frame_equal(
        trained.history.drop(columns=timed), other.history.drop(columns=timed), check_exact=True
    )
    assert trained.metrics == other.metrics


def test_a_run_has_metrics_history_and_config(trained):
    assert trained.metrics == json.loads((trained.folder / "metrics.json").read_text())["metrics"]
    assert list(trained.history["epoch"]) == [1, 2]
    assert trained.history["val/acc"].max() == trained.metrics["val/acc"]
    assert (trained.config["act"], trained.config["trainer"]["max_epochs"]) == ("tanh", 2)
    assert "test/acc" in repr(trained)
    assert f"{100 * trained.metrics['test/acc']:.1f}%" in trained._repr_html_()


def test_a_run_predicts_files(trained, tmp_path):
    (star,) = (trained.folder.parent / "cache").glob("shapes-*/star")
    images = sorted(star.glob("*.png"))[:3]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    found = trained.predict([*images, broken])
    assert list(found["path"]) == [*map(str, images), str(broken)]
    assert set(found["class"][:3]) <= set(trained.classes)
    assert found["error"].notna().tolist() == [False, False, False, True]
    all_classes = trained.predict(star, top=5)
    sums = all_classes[[f"probability_{rank}" for rank in range(1, 6)]].sum(axis=1)
    assert len(all_classes) == 20
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    outputs = trained.net(torch.zeros(2, 3, 32, 32, device=next(trained.net.parameters()).device))
    assert outputs.shape == (2, 5)


def test_a_run_is_evaluated(trained, capsys):
    found = evaluate(trained)
    assert found["metrics"]["acc"]["value"] == pytest.approx(trained.metrics["test/acc"])
    with pytest.raises(ValueError, match="no such setting to change"):
        evaluate(trained, data={"resolution": 16})


def test_runs_are_compared(trained, alexlab, capsys, tmp_path):
    cache = str(trained.folder.parent / "cache")
    other = train(
        ["optim.lr=0.002"],
        act="relu",
        cache_dir=cache,
        **{"hydra.run.dir": str(tmp_path / "b")},
        **SMALL,
    )
    table = report(trained, other)
    assert list(table.columns) == ["run", "b"]
    assert {"act", "optim.lr"} <= set(table.index)
    assert list(table.loc["act"]) == ["tanh", "relu"]
    assert list(table.loc["optim.lr"]) == ["0.01", "0.002"]
    assert "seed" not in table.index
    assert table.loc["test/acc", "b"] == f"{100 * other.metrics['test/acc']:.1f}%"
    capsys.readouterr()
    alexlab("report", trained.folder, other.folder)
    assert "| act | tanh | relu |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modle": "alexnet"}, "modle: no such setting; did you mean model"),
        ({"model": "alexnett"}, "model=alexnett: unknown; did you mean alexnet"),
        ({"act": "rleu"}, "act=rleu: unknown; did you mean relu"),
        ({"trainer.max_epochs": 0}, "trainer.max_epochs=0: must be a whole number of at least 1"),
        ({"study": "activation"}, "study=activation: a sweep of runs; use alexlab train"),
        ({"hydra.mode": "MULTIRUN"}, "hydra.mode=MULTIRUN: a sweep of runs; use alexlab train -m"),
        (
            {"study": "demo", "hydra.mode": "RUN"},
            "study=demo: a sweep of runs; use alexlab train study=demo",
        ),
        ({"sweep.n_jobs": 2}, "sweep.n_jobs=2: has no effect on a single run"),
        ({"sched.epoch": 3}, "this setting is now sched.drop_epoch"),
    ],
)
def test_errors_are_those_of_the_command_line(settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        train(**settings)
    assert message in str(raised.value)
    assert not (tmp_path / "multirun").exists()


def test_missing_data_is_a_file_not_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="pokemon"):
        train(data="pokemon", data_dir=str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_run(tmp_path / "none")


@pytest.mark.parametrize(
    ("value", "read"),
    [
        *[
            (v, v)
            for v in (None, True, 1, 0.5, 1e-4, "alexnet", "a b", "x,y", "it's", "C:\\d", "=")
        ],
        *[(v, v) for v in ("true", "null", "12", "", "a{b}", [1, "a b", None], {"a": [True]})],
        ((1, 2), [1, 2]),
    ],
)
def test_values_reach_the_config_as_they_are(value, read):
    assert compose_config([f"+new={_as_text(value)}"], check=False).new == read


def claim_sweep(make_sweep):
    claim = {"statement": "relu is better", "kind": "greater", "margin": 0.02}
    claim |= {"metric": "test/acc", "treatment": {"act": "relu"}, "control": {"act": "tanh"}}
    study = {"question": "Which?", "claims": [claim], "looks": {"tuned": [5]}}

    def results(values):
        noise = 0.01 * int(values["seed"])
        return {
            "test/acc": 0.5 + noise * (values["act"] == "relu") + 0.1 * (values["act"] == "relu")
        }

    axes = {"seed": range(5), "act": ["relu", "tanh"]}
    return make_sweep(axes, results, study, scale="tuned")


def test_a_sweep_gives_a_frame_and_answers(make_sweep, tmp_path):
    """By hand: differences .10 .11 .12 .13 .14, mean .12."""
    folder = claim_sweep(make_sweep)
    sweep = load_sweep(folder)
    frame = sweep.to_frame()
    assert len(frame) == 10
    means = frame.groupby("act")["test/acc"].mean()
    assert means["relu"] - means["tanh"] == pytest.approx(0.12)
    assert frame["seed"].tolist() == sorted(frame["seed"].tolist())
    (answer,) = sweep.answers
    assert (answer["answer"], answer["n"]) == ("more", 5)
    assert answer["effect"] == pytest.approx(0.12)
    page = report(sweep)
    assert isinstance(page, Page)
    assert json.loads((folder / "answers.json").read_text())["claims"] == sweep.answers
    assert "relu is better" in sweep._repr_html_()
    assert "&lt;h1&gt;" in page._repr_html_()
    assert "10 of 10 runs finished" in repr(sweep)
    with pytest.raises(FileNotFoundError, match="is not a sweep"):
        load_sweep(tmp_path)


def test_the_modules_work_in_anyones_own_trainer(image_folder, tmp_path):
    """Lightning's Trainer as it is, without a config: the net learns the colours of 18 images."""
    data = ImageFolderData(
        str(image_folder),
        name="colours",
        resolution=32,
        batch_size=4,
        cache_dir=str(tmp_path),
        val_fraction=0.2,
        test_fraction=0.2,
    )
    data.prepare()
    torch.manual_seed(0)
    net = SmallCNN(data.num_outputs, resolution=32)
    task = Classification(num_outputs=data.num_outputs)
    learner = Learner(net, task, optim=partial(torch.optim.Adam, lr=0.01), sched=None)
    trainer = L.Trainer(
        max_epochs=12,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
        accelerator="cpu",
    )
    trainer.fit(learner, data)
    assert trainer.callback_metrics["train/loss"] < 0.3
    assert {"test/acc", "test/loss"} <= set(trainer.test(learner, data, verbose=False)[0])
