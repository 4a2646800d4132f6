"""Training on a GPU: what is where, what waits, what repeats, and what is recorded."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import WeightAveraging

from alexlab.runs.folder import Stopped, read_metrics
from benchmarks.gpu_check.names import MICRO_BATCH, PEAK_GPU_MB, PRECISION
from benchmarks.gpu_check.waits import AUGMENTATIONS, REPRESENTATIONS, Context, on_gpu
from tests.tiny import rows, same, train, weights


def test_the_run_is_on_the_gpu_and_says_so(config, tmp_path):
    training = train(config(), tmp_path / "run")
    metrics = read_metrics(tmp_path / "run")
    bfloat16 = torch.cuda.get_device_capability() >= (8, 0)
    assert metrics["hardware"] == torch.cuda.get_device_name()
    assert metrics[PEAK_GPU_MB] > 0
    assert metrics[PRECISION] == ("bf16-mixed" if bfloat16 else "32-true")
    images, targets = next(iter(training.data.train_dataloader()))
    assert images.is_cuda  # the loader has all images on the GPU
    assert targets.is_cuda


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_no_training_step_waits(tmp_path, augment):
    assert not on_gpu(Context("cuda", tmp_path), "run", [f"augment={augment}"])


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_no_representation_waits(tmp_path, representation):
    settings = ["augment=crop", f"data.representation={representation}"]
    assert not on_gpu(Context("cuda", tmp_path), "run", settings)


def test_the_averaged_weights_are_on_the_gpu(config, tmp_path, monkeypatch):
    found = []
    original = WeightAveraging.on_train_batch_end

    def look(self, *args, **kwargs):
        original(self, *args, **kwargs)
        found.append({p.device.type for p in self._average_model.parameters()})

    monkeypatch.setattr(WeightAveraging, "on_train_batch_end", look)
    train(config("ema_decay=0.9"), tmp_path / "run")
    assert found
    assert all(devices == {"cuda"} for devices in found)


@pytest.mark.parametrize("optim", ["sgd", "adam", "adamw", "rmsprop"])
def test_gradients_are_clipped_in_bfloat16(config, tmp_path, monkeypatch, optim):
    norms = []

    def on_train_batch_end(self, outputs, batch, batch_idx):
        gradients = [p.grad.float() for p in self.parameters() if p.grad is not None]
        norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))

    monkeypatch.setattr(L.LightningModule, "on_train_batch_end", on_train_batch_end)
    clip = ["trainer.precision=bf16-mixed", "trainer.gradient_clip_val=0.001", "optim.lr=1e-4"]
    train(config(f"optim={optim}", *clip), tmp_path / "run")
    assert max(norms) == pytest.approx(0.001, rel=0.01)


def test_deterministic_runs_are_the_same_to_the_bit(config, tmp_path):
    first, second = (train(config("deterministic=true"), tmp_path / name) for name in "ab")
    assert same(weights(first), weights(second))
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


@pytest.mark.parametrize("stop_after", [2, 6])
def test_a_resumed_run_is_the_unbroken_one(config, tmp_path, stop_after):
    cfg = config("deterministic=true")
    whole = train(cfg, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(cfg, tmp_path / "parts", stop_after=stop_after)
    parts = train(cfg, tmp_path / "parts")
    assert same(weights(whole), weights(parts))
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")


@pytest.fixture
def little_memory():
    """1.2 GB; the weights of the test below take 1.6 GB."""
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(1.2e9 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_memory_that_is_not_enough(config, tmp_path, little_memory):
    wide = ["model.head=[20000,20000]", "data.batch_size=6"]
    with pytest.raises(RuntimeError) as caught:
        train(config(*wide), tmp_path / "run")
    told = str(caught.value)
    assert told.startswith("out of memory with batches of 6 images of 32 px: lower data.batch_size")
    assert len(told.splitlines()) == 1


def test_batches_that_are_too_large_are_taken_in_parts(config, tmp_path, monkeypatch):
    """The allocator refuses what is above a limit that half a batch does not reach."""
    from alexlab.training.module import Learner

    original = Learner._step

    def step(self, batch, split):
        if split == "train" and len(batch[1]) > 2:
            torch.empty(1 << 44, device="cuda")  # 16 TB
        return original(self, batch, split)

    monkeypatch.setattr(Learner, "_step", step)
    train(config("trainer.auto_batch=true", "data.batch_size=4"), tmp_path / "run")
    assert read_metrics(tmp_path / "run")[MICRO_BATCH] == 2
