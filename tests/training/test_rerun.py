"""Repeating a run: the same to the bit, or what differs and by how much."""

import json
import re
import shutil

import pytest

from alexlab.runs.checkpoint import load, save
from alexlab.runs.folder import BEST, CONFIG, METRICS, read_metrics
from alexlab.training import rerun
from tests.tiny import train


@pytest.fixture
def run(config, tmp_path):
    train(config(), tmp_path / "old")
    return tmp_path / "old"


def change(run, **values):
    metrics = read_metrics(run)
    (run / METRICS).write_text(json.dumps({**metrics, **values}))


def test_a_run_comes_out_the_same(run, tmp_path, capsys):
    assert rerun.rerun(run, tmp_path / "new")
    told = capsys.readouterr().out
    assert f"{tmp_path}/new is the same to the bit as {run}" in told
    assert "changed:" not in told
    assert read_metrics(run)["best_sha256"] == read_metrics(tmp_path / "new")["best_sha256"]


def test_images_of_another_machine_are_found_in_data_dir(
    config, image_folder, tmp_path, monkeypatch, capsys
):
    there, here = tmp_path / "there", tmp_path / "here"
    shutil.copytree(image_folder, there / "photos")
    changes = ("data=folder", f"data_dir={there}", f"data.root={there}/photos")
    train(config(*changes, "data.resolution=32", "data.batch_size=4"), tmp_path / "old")
    there.rename(here)
    with pytest.raises(FileNotFoundError, match=r"no folder .*photos.*DATA_DIR"):
        rerun.rerun(tmp_path / "old", tmp_path / "nowhere")
    monkeypatch.setenv("DATA_DIR", str(here))
    assert rerun.rerun(tmp_path / "old", tmp_path / "new")
    assert "changed: data_fingerprint" not in capsys.readouterr().out


def test_what_is_not_as_it_was_is_said_first(run, tmp_path, capsys):
    versions = {**read_metrics(run)["versions"], "torch": "1.0"}
    change(run, git="abc", versions=versions, data_fingerprint="xyz")
    assert rerun.rerun(run, tmp_path / "new")
    told = capsys.readouterr().out
    first = told.index("model ") if "model " in told else len(told)
    for line in ("git abc -> ", "versions.torch 1.0 -> ", "data_fingerprint xyz -> "):
        assert 0 <= told.index(f"changed: {line}") < first


def test_by_how_much_it_differs(run, tmp_path, capsys):
    best = load(run / BEST)
    first = next(iter(best["net"]))
    best["net"][first][0] += 0.25
    save(best, run / BEST)
    metrics = read_metrics(run)["metrics"]
    change(run, metrics={**metrics, "val/loss": 0.125})
    history = (run / "history.csv").read_text().splitlines()
    history[2] = history[2].replace("2,", "2,9", 1)  # the learning rate of the second epoch
    (run / "history.csv").write_text("\n".join(history))
    assert not rerun.rerun(run, tmp_path / "new")
    told = capsys.readouterr().out
    assert f"weights: they differ by up to 0.25, in {first}" in told
    assert f"metrics: val/loss 0.125 -> {metrics['val/loss']}" in told
    assert "history, from epoch 2 on: lr 9" in told


def test_a_metric_that_another_version_wrote_is_no_difference(run, tmp_path):
    change(run, metrics={**read_metrics(run)["metrics"], "test/top5_error": 0.0})
    assert rerun.rerun(run, tmp_path / "new")


def test_where_the_weights_were_not_kept_their_checksum_tells(run, tmp_path):
    (run / BEST).unlink()
    assert rerun.rerun(run, tmp_path / "same")
    change(run, best_sha256="0")
    assert not rerun.rerun(run, tmp_path / "other")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda run: (run / METRICS).unlink(), "has not finished"),
        (lambda run: shutil.rmtree(run), "not a run folder"),
        (lambda run: (run / CONFIG).write_text("a: {_target_: os.system}"), r"os\.system"),
    ],
)
def test_what_cannot_be_repeated_is_said(alexlab, run, tmp_path, capsys, harm, message):
    harm(run)
    with pytest.raises(SystemExit) as exit_:
        alexlab("rerun", run, "--into", tmp_path / "new")
    assert exit_.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert len(told.splitlines()) == 1
    assert re.search(message, told)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_exists_is_left_as_it_is(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="exists: --into takes the name of a new folder"):
        rerun.rerun(run, run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
