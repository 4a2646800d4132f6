"""A training step does not wait for a GPU in loader, augmentation and representation."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from alexlab.data.loader import ArrayLoader, copy_used_images, index_select_batch
from alexlab.data.preprocess import Preprocess
from alexlab.data.representation import REPRESENTATIONS
from alexlab.runs.config import CONF
from tests.waits import GPU, Waits

AUGMENTATIONS = sorted(path.stem for path in (CONF / "augment").glob("*.yaml"))
INDICES = np.arange(3, 23)


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (lambda x: x.sum().item(), 1),
        (lambda x: bool(x.any()), 1),
        (lambda x: x[x > 0], 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: torch.zeros(3).to(GPU), 1),
        (lambda x: torch.zeros(3).to(GPU, non_blocking=True), 1),
        (lambda x: x.new_tensor([1.0, 2.0]), 1),
        (lambda x: torch.as_tensor(16, device=GPU), 1),
        (lambda x: torch.zeros(3).pin_memory().to(GPU), 1),
        (lambda x: torch.zeros(3).pin_memory().to(GPU, non_blocking=True), 0),
        (lambda x: x[[0, 1]], 1),
        (lambda x: x.masked_fill(x > 0, 1.0), 0),
        (lambda x: torch.where(x > 0, x, 0.0), 0),
        (lambda x: (x * 2).float().sum(), 0),
        (lambda x: torch.rand(3, device=GPU), 0),
    ],
)
def test_what_counts_as_a_wait(wait, expected):
    with Waits() as waits, suppress(DataDependentOutputException, DynamicOutputShapeException):
        wait(torch.empty(4, device=GPU))
    assert len(waits.found) == expected, waits.found


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_no_augmentation_and_no_representation_waits(name, representation, compose):
    augment = instantiate(compose(f"augment={name}").augment) or None
    preprocess = Preprocess(32, augment=augment, representation=representation)
    with Waits() as waits:
        images = torch.empty(16, 3, 40, 40, dtype=torch.uint8, device=GPU)
        preprocess(images, training=True)  # moves its buffers to the device, once
        waits.found.clear()
        for training in (True, False):
            inputs = preprocess(images, training=training)
    assert inputs.device == GPU
    assert inputs.shape == (16, preprocess.num_channels, 32, 32)
    assert waits.found == []


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_loader_does_not_wait(shuffle):
    with Waits() as waits:
        images = torch.empty(30, 3, 8, 8, dtype=torch.uint8, device=GPU)
        fetch = index_select_batch(images, torch.empty(30, dtype=torch.long, device=GPU))
        loader = ArrayLoader(fetch, INDICES, batch_size=4, shuffle=shuffle, device=GPU)
        for epoch in range(2):
            loader.set_epoch(epoch)
            batches = list(loader)
    assert [len(images) for images, _ in batches] == [4] * 5
    assert len(waits.pinned) == 2  # the indices of each epoch are copied once
    assert all(tensor.device == GPU for batch in batches for tensor in batch)
    assert waits.found == []


def test_the_loader_does_not_wait_where_a_part_of_the_images_was_copied():
    used = np.arange(0, 30, 2)
    with Waits() as waits:
        images = torch.empty(30, 3, 8, 8, dtype=torch.uint8)
        fetch = copy_used_images(images, torch.empty(30, dtype=torch.long), used, GPU)
        assert waits.found  # the images, before training starts
        waits.found.clear()
        loader = ArrayLoader(fetch, used, batch_size=4, shuffle=True, device=GPU)
        assert [len(images) for images, _ in loader] == [4, 4, 4, 3]
    assert waits.found == []
