"""Memory that is not enough, for real, and batches taken in parts."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from alexlab.performance.out_of_memory import friendly_oom_errors, is_out_of_memory
from alexlab.runs.folder import Stopped, read_metrics
from alexlab.training.callbacks.auto_batch import AutoBatch
from alexlab.training.module import Learner
from tests.tiny import rows, same, train, weights


def test_errors_of_torch_for_too_little_memory_are_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    wrapped = ValueError("while building")
    wrapped.__cause__ = MemoryError()
    assert is_out_of_memory(wrapped)


def test_it_is_explained_in_one_line():
    with pytest.raises(RuntimeError) as caught, friendly_oom_errors(512, 224):
        torch.empty(1 << 50, dtype=torch.uint8)
    message = str(caught.value)
    assert message.startswith(
        "out of memory with batches of 512 images of 224 px: lower data.batch"
    )
    assert "trainer.auto_batch=true" in message
    assert len(message.splitlines()) == 1
    # what has been done already is no advice
    parts = friendly_oom_errors(512, 224, auto_batch=True)
    with (
        pytest.raises(RuntimeError, match=r"^out of memory .* even in parts: lower") as caught,
        parts,
    ):
        torch.empty(1 << 50, dtype=torch.uint8)
    assert "auto_batch" not in str(caught.value)


@pytest.fixture
def without_chance(config):
    """A training whose result does not depend on how a batch is cut: no dropout, no BatchNorm."""
    plain = ["augment=none", "model.dropout=0", "data.batch_size=6", "optim.momentum=0.9"]
    return lambda *more: config(*plain, "trainer.auto_batch=true", *more)


@pytest.fixture
def little_memory(monkeypatch):
    """Batches of more than two images raise what CUDA raises, the second of three as well, once."""
    original, calls = Learner._step, []

    def step(self, batch, split):
        calls.append(len(batch[1]))
        outputs = original(self, batch, split)  # its running means are updated already
        if split == "train" and len(batch[1]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return outputs

    monkeypatch.setattr(Learner, "_step", step)
    return calls


def test_parts_give_the_weights_and_the_numbers_of_the_whole(
    without_chance, tmp_path, monkeypatch, little_memory, caplog
):
    caplog.set_level("INFO", "alexlab")
    parts = weights(train(without_chance(), tmp_path / "parts"))
    assert little_memory[:4] == [6, 3, 2, 2]
    assert caplog.text.count("out of memory: batches are now computed in parts") == 2
    assert read_metrics(tmp_path / "parts")["micro_batch"] == 2
    monkeypatch.undo()
    whole = weights(train(without_chance("trainer.auto_batch=false"), tmp_path / "whole"))
    assert read_metrics(tmp_path / "whole")["micro_batch"] is None
    for name in whole:
        assert torch.allclose(whole[name], parts[name], atol=1e-6), name
    for a, b in zip(rows(tmp_path / "parts"), rows(tmp_path / "whole"), strict=True):
        assert a["train/acc"] == b["train/acc"]  # no image was counted twice
        assert float(a["train/loss"]) == pytest.approx(float(b["train/loss"]), rel=1e-5)


@pytest.mark.parametrize("clip", ["null", "0.1"])  # clipped, a wrong factor would not show
def test_parts_add_up_under_accumulation_and_clipping(
    without_chance, tmp_path, monkeypatch, little_memory, clip
):
    more = ["trainer.accumulate_grad_batches=2", f"trainer.gradient_clip_val={clip}"]
    parts = weights(train(without_chance(*more), tmp_path / "parts"))
    monkeypatch.undo()
    alone = without_chance(*more, "trainer.auto_batch=false")  # as Lightning itself accumulates
    whole = weights(train(alone, tmp_path / "whole"))
    for name in whole:
        assert torch.allclose(whole[name], parts[name], atol=1e-6), name


def test_nothing_of_a_failed_attempt_counts(config, tmp_path, monkeypatch, little_memory):
    """Dropout, augmentation and BatchNorm on: as if the size had been known from the start."""
    cfg = config("model.norm=batch", "data.batch_size=6", "trainer.auto_batch=true")
    found = weights(train(cfg, tmp_path / "found"))
    monkeypatch.setattr(AutoBatch, "on_train_start", lambda self, *_: setattr(self, "size", 2))
    known = weights(train(cfg, tmp_path / "known"))
    assert same(found, known)


def test_the_size_is_kept_over_a_stop(config, tmp_path, little_memory):
    cfg = config("data.batch_size=6", "trainer.auto_batch=true")
    unbroken = weights(train(cfg, tmp_path / "unbroken"))
    with pytest.raises(Stopped):
        train(cfg, tmp_path / "run", stop_after=1)
    little_memory.clear()
    assert same(weights(train(cfg, tmp_path / "run")), unbroken)
    assert 6 not in little_memory[:2]


def test_one_image_that_does_not_fit_is_an_error(config, tmp_path, monkeypatch):
    def step(self, batch, split):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Learner, "_step", step)
    with pytest.raises(RuntimeError, match="out of memory with batches of 3 images of 32 px"):
        train(config("trainer.auto_batch=true"), tmp_path / "run")
    assert read_metrics(tmp_path / "run")["status"] == "failed"


def test_several_devices_are_refused(config, tmp_path):
    with pytest.raises(ValueError, match="one device"):
        AutoBatch().on_fit_start(SimpleNamespace(world_size=2), None)


@pytest.mark.slow
def test_memory_that_runs_out_for_real(tmp_path, hit):
    """By RLIMIT_AS."""
    command = [sys.executable, "-m", "tests.memory_app", str(tmp_path)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # or threads take room
    subprocess.run(command, check=True, cwd=Path(__file__).parents[3], env=env)
    plain, auto = (read_metrics(tmp_path / name) for name in ("plain", "auto"))
    assert plain["status"] == "failed"
    assert "out of memory with batches of 256 images of 64 px" in plain["error"]
    assert auto["status"] == "finished"
    assert auto["micro_batch"] < 256
    hit(f"RLIMIT_AS: said; in parts of {auto['micro_batch']} of 256 images it went on")


def test_parts_of_unequal_size_give_the_mean_over_images():
    """Loss w * x, w = 3; the mean of x is 4, while that of the parts' means is 5.33."""
    weight = torch.tensor(3.0, requires_grad=True)
    callback = AutoBatch()
    callback.size = 2
    strategy = SimpleNamespace(backward=lambda loss, optimizer: loss.backward())
    callback._trainer = SimpleNamespace(accumulate_grad_batches=1, strategy=strategy)
    callback._step = lambda part, batch_idx: (weight * part[0]).mean()
    images = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0])
    loss = callback._in_parts((images, torch.zeros(5)), 0)
    assert (loss.item(), weight.grad.item()) == pytest.approx((12.0, 4.0))
