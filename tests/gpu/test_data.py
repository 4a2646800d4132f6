"""Batches on a GPU: the same as on a CPU, wherever the images are, and without a wait."""

from types import SimpleNamespace

import pytest
import torch
from hydra.utils import instantiate

from alexlab.data import datamodule
from alexlab.data.datamodule import ImageFolderData
from alexlab.data.preprocess import Preprocess
from alexlab.data.representation import REPRESENTATIONS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
DEVICE = torch.device("cuda", 0)


@pytest.fixture
def make(image_folder, tmp_path):
    def make(device, **settings):
        options = {"name": "tiny", "resolution": 16, "batch_size": 4, **settings}
        data = ImageFolderData(str(image_folder), cache_dir=str(tmp_path), **options)
        data.prepare()
        strategy = SimpleNamespace(root_device=torch.device(device))
        data.trainer = SimpleNamespace(
            strategy=strategy, global_rank=0, world_size=1, training=False
        )
        return data

    return make


@pytest.mark.parametrize("share", [0.25, 0.0], ids=["on the GPU", "in pinned memory"])
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_batches_are_those_of_a_cpu(make, monkeypatch, share, fraction):
    monkeypatch.setattr(datamodule, "GPU_SHARE", share)
    data, expected = make(DEVICE, fraction=fraction), make("cpu", fraction=fraction)
    for split in ("train", "val", "test"):
        loader = getattr(data, f"{split}_dataloader")()
        assert loader.prefetch == (share == 0)
        batches = list(loader)
        assert all(images.is_cuda == (share > 0) for images, _ in batches)
        assert all(images.is_cuda or images.is_pinned() for images, _ in batches)
        others = list(getattr(expected, f"{split}_dataloader")())
        assert len(batches) == len(others)
        for (images, targets), (other_images, other_targets) in zip(batches, others, strict=True):
            assert torch.equal(images.cpu(), other_images)
            assert torch.equal(targets.cpu(), other_targets)


def test_an_epoch_does_not_wait(make):
    loader = make(DEVICE).train_dataloader()
    list(loader)
    loader.set_epoch(1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert [len(images) for images, _ in loader] == [4, 4, 4]
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_preprocessing_is_that_of_a_cpu(representation):
    images = torch.randint(256, (8, 3, 40, 40), dtype=torch.uint8)
    expected = Preprocess(32, representation=representation)(images, training=False)
    found = Preprocess(32, representation=representation)(images.to(DEVICE), training=False)
    torch.testing.assert_close(found.cpu(), expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["crop", "affine", "colour", "alexnet", "randaugment"])
def test_each_image_gets_its_own_draw_without_a_wait(name, compose):
    images = torch.randint(256, (1, 3, 40, 40), dtype=torch.uint8).to(DEVICE).expand(16, -1, -1, -1)
    preprocess = Preprocess(32, augment=instantiate(compose(f"augment={name}").augment))
    preprocess(images, training=True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.manual_seed(3)
        first = preprocess(images, training=True)
        torch.manual_seed(3)
        again = preprocess(images, training=True)
        other = preprocess(images, training=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({image.numpy().tobytes() for image in first.cpu()}) > 8
