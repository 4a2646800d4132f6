import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from alexlab.data.augment import Augment
from alexlab.data.preprocess import Preprocess

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.fixture
def images():
    return torch.randint(256, (4, 3, 20, 20), dtype=torch.uint8)


def test_evaluation_sees_the_standardised_centre_and_never_an_augmentation(images):
    augment = Augment(crop=True, flip=1.0, rotate=90, brightness=0.9, pca=5.0, randaugment=3)
    view = Preprocess(16, augment=augment)
    expected = (images[..., 2:18, 2:18] / 255 - MEAN) / STD
    state = torch.get_rng_state()
    for _ in range(2):
        torch.testing.assert_close(view(images, training=False), expected)
    assert torch.equal(torch.get_rng_state(), state)  # nor does it draw
    assert not torch.allclose(view(images, training=True), expected, atol=0.1)


def test_training_without_augmentation_sees_what_evaluation_sees(images):
    view = Preprocess(16)
    assert torch.equal(view(images, training=True), view(images, training=False))


def test_training_augments_before_it_standardises(images):
    seen = Preprocess(16, augment=Augment(flip=1.0))(images, training=True)
    torch.testing.assert_close(seen, (images[..., 2:18, 2:18].flip(3) / 255 - MEAN) / STD)


@pytest.mark.parametrize(
    ("representation", "channels"),
    [("rgb", 3), ("gray", 1), ("ycbcr", 3), ("hsv", 3), ("dct", 16), ("fft", 3)],
)
def test_a_batch_is_what_a_net_takes(images, representation, channels):
    view = Preprocess(16, augment=Augment(crop=True), representation=representation)
    assert view.num_channels == channels
    for training in (True, False):
        seen = view(images, training=training)
        assert seen.shape == (4, channels, 16, 16)
        assert seen.dtype == torch.float32
        assert seen.is_contiguous(memory_format=torch.channels_last)


def test_a_crop_without_room_is_said():
    (note,) = Preprocess(224, augment=Augment(crop=True)).notes(224)
    assert "no effect" in note
    assert "load_size=256" in note  # as in the AlexNet article
    assert not Preprocess(224, augment=Augment(crop=True)).notes(256)
    assert not Preprocess(224, augment=Augment(flip=0.5)).notes(224)


def test_images_too_small_are_refused(images):
    with pytest.raises(ValueError, match=r"load_size=20 is smaller than data.resolution=24"):
        Preprocess(24)(images, training=False)


class Memory(TorchDispatchMode):
    """Count the bytes of the tensors that exist at a time, and their largest sum."""

    def __init__(self):
        super().__init__()
        self.bytes = self.peak = 0
        self.known = set()

    def freed(self, pointer, size):
        self.known.discard(pointer)
        self.bytes -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        storage = result.untyped_storage()
        if storage.data_ptr() not in self.known:
            self.known.add(storage.data_ptr())
            self.bytes += storage.nbytes()
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self.freed, storage.data_ptr(), storage.nbytes())
        return result


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_takes_the_memory_of_two_float_batches_while_it_is_prepared(training):
    images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8)
    view = Preprocess(32)
    with Memory() as memory:
        memory.known.add(images.untyped_storage().data_ptr())
        view(images, training=training)
    assert memory.peak == 2 * 8 * 3 * 32 * 32 * 4  # the result, and the batch in another layout


def test_images_that_are_standardised_are_not_overwritten():
    images = torch.rand(2, 3, 8, 8)
    before = images.clone()
    Preprocess(8).representation(images)
    assert torch.equal(images, before)
