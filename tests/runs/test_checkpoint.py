"""Checkpoints that break, fill the disk, or come from a stranger: on the real files of a run."""

import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest
import torch

from alexlab.runs.checkpoint import (
    CorruptedCheckpointError,
    check_fits,
    iter_valid_checkpoints,
    load,
    previous,
    save,
    verify_checksum,
)
from alexlab.runs.folder import BEST, LAST, Stopped, read_metrics
from tests.tiny import in_child, rows, same, train


@pytest.fixture
def config(config):
    return partial(config, "save_every_s=0")


@pytest.fixture
def stopped(config, once, runs, tmp_path):
    """A copy of a run that was stopped in its third epoch, with two checkpoints of each kind."""
    cfg = config(
        "trainer.max_epochs=3", "sched=constant", "objective=val/loss", "direction=minimize"
    )
    if not (runs / "stopped").exists():
        with pytest.raises(Stopped):
            train(cfg, runs / "stopped", stop_after=10)
    shutil.copytree(runs / "stopped", tmp_path / "run")
    return cfg, tmp_path / "run", once("unbroken", cfg)


def cut(path, twentieths):
    os.truncate(path, path.stat().st_size * twentieths // 20)


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << (place % 8)
    path.write_bytes(content)


@pytest.mark.parametrize("name", [LAST, BEST], ids=str)
def test_every_truncation_is_noticed_and_the_one_before_is_found(stopped, caplog, name, hit):
    path = stopped[1] / name
    content = path.read_bytes()
    for part in range(20):
        path.write_bytes(content)
        cut(path, part)
        caplog.clear()
        found = [one for one, _ in iter_valid_checkpoints(path)]
        assert found == [previous(path)]
        assert f"{path} is damaged" in caplog.text
        hit(f"{path.name} cut to n/20 of its length")


@pytest.mark.parametrize("name", [LAST, BEST], ids=str)
def test_every_flipped_bit_is_noticed(stopped, name, hit):
    path = stopped[1] / name
    content = path.read_bytes()
    chosen = random.Random(0).sample(range(len(content) - 73), 60)
    for place in [*chosen, *range(len(content) - 71, len(content))]:
        path.write_bytes(content)
        flip(path, place)
        with pytest.raises(CorruptedCheckpointError):
            load(path)
        hit(f"{path.name} with one bit flipped")


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_run_goes_on_from_the_checkpoint_before_and_ends_the_same(stopped, caplog, damage, hit):
    cfg, folder, unbroken = stopped
    last = folder / LAST
    {"cut": lambda: cut(last, 7), "flip": lambda: flip(last, 5000), "gone": last.unlink}[damage]()
    caplog.set_level("INFO", "alexlab")
    train(cfg, folder)
    told = caplog.text
    assert f"resuming from the previous checkpoint, {previous(last)}" in told
    assert rows(folder) == rows(unbroken)
    assert same(load(folder / BEST)["net"], load(unbroken / BEST)["net"])
    assert sorted(p.name for p in last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]
    verify_checksum(last)
    hit(f"last.ckpt {damage}: resumed from the one before")


def test_when_the_best_weights_are_damaged_the_best_before_them_count(stopped, caplog):
    cfg, folder, _ = stopped
    before = load(previous(folder / BEST))["epoch"]
    cut(folder / BEST, 3)
    train(cfg, folder)
    assert f"continuing with the weights of epoch {before}" in caplog.text
    best = load(folder / BEST)
    assert read_metrics(folder)["best_epoch"] == best["epoch"]


def test_nothing_whole_is_said_and_nothing_is_trained_over_it(stopped):
    cfg, folder, _ = stopped
    cut(folder / LAST, 3)
    cut(previous(folder / LAST), 3)
    with pytest.raises(ValueError, match=r"all checkpoints in .*checkpoints are corrupted; delete"):
        train(cfg, folder)


def test_a_trial_that_has_finished_keeps_its_best_alone(config, tmp_path):
    train(config(), tmp_path / "run", trial=True)
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["best.ckpt"]


def test_a_checkpoint_is_an_ordinary_zip_file_that_torch_reads(tmp_path):
    save({"a": torch.arange(3)}, tmp_path / "a.ckpt")
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["a"].tolist() == [0, 1, 2]
    with zipfile.ZipFile(tmp_path / "a.ckpt") as file:
        assert file.testzip() is None
        assert file.comment.startswith(b"sha256:")
    torch.save({"a": 1}, tmp_path / "foreign.ckpt")  # without a checksum
    assert load(tmp_path / "foreign.ckpt") == {"a": 1}


# -- a full disk


def test_a_file_that_may_not_grow_fails_the_run_and_leaves_the_checkpoint(config, tmp_path, hit):
    cfg, folder = config("trainer.max_epochs=4", "sched=constant"), tmp_path / "run"
    train(cfg, tmp_path / "unbroken")

    def limited():
        def from_the_third_epoch_on(batch):
            if batch == 9:
                size = (folder / LAST).stat().st_size
                resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

        with pytest.raises(OSError, match="File too large") as caught:
            train(cfg, folder, at_batch=from_the_third_epoch_on)
        assert Path(caught.value.filename) in (folder / BEST, folder / LAST)

    assert in_child(limited) == 0
    assert "File too large" in read_metrics(folder)["error"]
    verify_checksum(folder / LAST)
    assert load(folder / LAST)["epoch"] == 1  # two are done
    train(cfg, folder)
    assert rows(folder) == rows(tmp_path / "unbroken")
    hit("RLIMIT_FSIZE in the third epoch")


def test_a_full_disk_fails_the_run_and_leaves_the_checkpoint(config, small_disk, tmp_path, hit):
    cfg = config("trainer.max_epochs=6", "sched=constant", "model.width=0.5")
    train(cfg, tmp_path / "unbroken")
    size = (tmp_path / "unbroken" / LAST).stat().st_size
    place = small_disk(f"size={size * 3}")  # last, its copy, best: no room for one more
    folder, error = place / "run", "No space left on device"
    with pytest.raises(OSError, match=error) as caught:
        train(cfg, folder)
    assert caught.value.filename.endswith(".ckpt")
    assert error in read_metrics(folder)["error"]
    assert read_metrics(folder)["status"] == "failed"
    verify_checksum(folder / LAST)
    assert not list(folder.rglob("*.tmp"))
    small_disk(f"size={size * 20}")
    train(cfg, folder)
    assert rows(folder) == rows(tmp_path / "unbroken")
    hit("tmpfs full at a checkpoint")


# -- strangers


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


FORMS = {
    "torch's zip": lambda evil, path: torch.save({"state_dict": evil}, path),
    "torch's old": lambda evil, path: torch.save(
        {"state_dict": evil}, path, _use_new_zipfile_serialization=False
    ),
    "bare pickle": lambda evil, path: path.write_bytes(pickle.dumps(evil)),
    "ours, with its checksum": lambda evil, path: save({"state_dict": evil}, path),
}


@pytest.mark.parametrize("name", [LAST, BEST], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_a_malicious_checkpoint_is_refused_and_not_run(stopped, tmp_path, name, form, hit):
    cfg, folder, _ = stopped
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(Evil(mark)))
    assert mark.exists()  # it is as bad as it looks
    mark.unlink()
    FORMS[form](Evil(mark), folder / name)
    with pytest.raises(
        ValueError, match=rf"{folder / name}: not a checkpoint of alexlab"
    ) as caught:
        train(cfg, folder)
    assert len(str(caught.value).splitlines()) == 1
    assert not mark.exists()
    hit(f"malicious pickle as {name.name}, {form}")


def test_another_architecture_is_said(stopped, config):
    _, folder, _ = stopped
    other = config("trainer.max_epochs=3", "model.width=0.2", "sched=constant")
    with pytest.raises(
        ValueError,
        match=r"of another network: net\.features\.\w+\.weight is \[8, 3, \d+, \d+\] in it and"
        r" \[16, 3, \d+, \d+\] in this network, and \d+ more differ",
    ):
        train(other, folder)


@pytest.mark.parametrize(
    ("saved", "expected", "message"),
    [
        ({"a": 2}, {"a": 2, "b": 3}, r"b is missing in it and \[3\] in this network$"),
        ({"a": 2, "b": 3}, {"a": 2}, r"b is \[3\] in it and missing in this network$"),
        ({"a": 2}, {"a": 4}, r"a is \[2\] in it and \[4\] in this network$"),
        ({}, {"a": 2, "b": 3}, r"a is missing in it and \[2\] in this network, and 1 more differ"),
    ],
)
def test_the_first_parameter_that_differs_is_named(saved, expected, message):
    state, own = ({k: torch.zeros(n) for k, n in sizes.items()} for sizes in (saved, expected))
    with pytest.raises(ValueError, match=message):
        check_fits(state, own, Path("x.ckpt"))


def test_weights_that_fit_are_accepted():
    check_fits({"a": torch.zeros(2)}, {"a": torch.ones(2)}, Path("x.ckpt"))


def test_a_newer_format_is_said(tmp_path):
    save({"format": 2, "net": {}}, tmp_path / "new.ckpt")
    with pytest.raises(ValueError, match=r"format 2, this version reads format 1"):
        load(tmp_path / "new.ckpt")


# -- a sweep


@pytest.mark.slow
def test_a_sweep_goes_on_past_a_run_that_fills_the_disk(tmp_path, hit):
    """The file-size limit stands for the disk: the wide net's checkpoint does not fit."""
    command = [sys.executable, "-m", "alexlab", "train", "-m", "model=alexnet", "model.head=[16]"]
    command += ["model.width=0.4,0.1", "data.num_images=100", "trainer.max_epochs=1"]
    command += ["data.resolution=32", "sweep.name=s"]
    limit = 1_500_000
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    ends = [read_metrics(p.parent) for p in sorted(tmp_path.glob("multirun/s/*/metrics.json"))]
    assert [end["status"] for end in ends] == ["failed", "finished"]
    assert "File too large" in ends[0]["error"]
    hit("file-size limit in a sweep of two: one failed, one finished")
