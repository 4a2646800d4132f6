"""Each transformation, image by image, against torchvision's with the same parameter."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from alexlab.data import transforms
from alexlab.data.augment import RandAugment

INNER = (..., slice(18, -18), slice(18, -18))  # edges are filled otherwise


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 10, 10, generator=generator)
    return tv.resize(coarse, [48, 48], antialias=True).clamp(0, 1)


def each(function, images, *parameters):
    rows = zip(images, *parameters, strict=True)
    return torch.stack([function(image, *values) for image, *values in rows])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (transforms.brightness, tv.adjust_brightness),
        (transforms.contrast, tv.adjust_contrast),
        (transforms.saturation, tv.adjust_saturation),
        (transforms.sharpness, tv.adjust_sharpness),
    ],
)
def test_colours_are_torchvisions(ours, theirs, images):
    factors = [0.5, 1.0, 1.3, 1.9]
    expected = each(theirs, images, factors)
    # torchvision rounds the luma's weights to 0.2989, 0.587, 0.114
    torch.testing.assert_close(ours(images, torch.tensor(factors)), expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("size", [(48, 48), (5, 3), (2, 9), (1, 1)])
def test_the_blur_is_torchvisions_to_the_bit(size, images):
    cut = images[..., : size[0], : size[1]]
    assert torch.equal(transforms.blur(cut), tv.adjust_sharpness(cut, 0.0))


def affine(image, angle=0.0, shift=(0, 0), shear=(0.0, 0.0)):
    return tv.affine(
        image,
        angle=math.degrees(angle),
        translate=[48 * s for s in shift],
        scale=1.0,
        shear=[math.degrees(math.atan(s)) for s in shear],
        interpolation=InterpolationMode.BILINEAR,
    )


def test_turns_are_torchvisions(images):
    angles = [0.3, -0.2, 0.0, 0.1]
    warped = transforms.warp(images, angle=torch.tensor(angles))
    expected = each(affine, images, angles)
    torch.testing.assert_close(warped[INNER], expected[INNER], atol=1e-4, rtol=0)
    quarter = transforms.warp(images, angle=torch.full((4,), math.pi / 2))
    torch.testing.assert_close(quarter, images.rot90(-1, (2, 3)), atol=1e-4, rtol=0)


def test_shears_are_torchvisions(images):
    shears = [[0.2, 0.0], [0.0, 0.2], [-0.1, 0.0], [0.0, -0.3]]
    warped = transforms.warp(images, shear=torch.tensor(shears))
    expected = torch.stack([affine(i, shear=s) for i, s in zip(images, shears, strict=True)])
    torch.testing.assert_close(warped[INNER], expected[INNER], atol=1e-4, rtol=0)


def test_shifts_go_right_and_down_and_repeat_the_edge(images):
    shifts = torch.tensor([[3, 0], [0, 5], [-2, 1], [0, 0]])
    warped = transforms.warp(images, shift=shifts / 48)
    for image, moved, (right, down) in zip(images, warped, shifts.tolist(), strict=True):
        rows = (torch.arange(48) - down).clamp(0, 47)
        columns = (torch.arange(48) - right).clamp(0, 47)
        torch.testing.assert_close(moved, image[:, rows][:, :, columns], atol=1e-4, rtol=0)


def test_shear_comes_before_turn(images):
    angles, slopes = [0.2, -0.2, 0.3, 0.1], [0.2, 0.1, -0.2, 0.3]
    shears = torch.tensor([[slope, 0.0] for slope in slopes])
    warped = transforms.warp(images, angle=torch.tensor(angles), shear=shears)
    pairs = zip(images, angles, slopes, strict=True)
    expected = torch.stack([affine(i, angle, shear=(slope, 0)) for i, angle, slope in pairs])
    torch.testing.assert_close(warped[INNER], expected[INNER], atol=1e-4, rtol=0)


def test_turn_comes_before_shift(images):
    parameters = [(0.2, (0.125, 0)), (0.2, (0, 0.125)), (-0.1, (0.0625, -0.0625)), (0.0, (0, 0))]
    angles, shifts = (list(column) for column in zip(*parameters, strict=True))
    warped = transforms.warp(images, angle=torch.tensor(angles), shift=torch.tensor(shifts))
    expected = each(affine, images, angles, shifts)
    torch.testing.assert_close(warped[INNER], expected[INNER], atol=1e-4, rtol=0)


def test_a_stretch_of_two_is_the_middle_half_enlarged(images):
    warped = transforms.warp(images, stretch=torch.tensor([[2.0, 1.0]] * 4))
    expected = tv.resize(images[..., 12:-12], [48, 48], antialias=False)
    torch.testing.assert_close(warped[..., 2:-2], expected[..., 2:-2], atol=1e-4, rtol=0)


def test_crop_and_mirror_by_index():
    images = torch.randint(256, (3, 3, 10, 10), dtype=torch.uint8)
    corner, mirror = torch.tensor([[0, 2, 3], [1, 0, 3]]), torch.tensor([False, True, False])
    cut = transforms.crop_flip(images, 7, corner, mirror)
    assert torch.equal(cut[0], images[0, :, 0:7, 1:8])
    assert torch.equal(cut[1], images[1, :, 2:9, 0:7].flip(2))
    assert torch.equal(cut[2], images[2, :, 3:10, 3:10])
    assert torch.equal(transforms.centre_crop(images, 7), images[..., 1:8, 1:8])


def test_pca_colour_by_hand():
    # alpha times eigenvalue along the first and the last axis, to every pixel alike
    images = torch.rand(2, 3, 5, 5) * 0.6 + 0.2
    shifted = transforms.pca_colour(
        images, torch.tensor([[1.0, 0, 0], [0, 0, -2.0]]), transforms.pca_axes()
    )
    first = 0.2175 * torch.tensor([-0.5675, -0.5808, -0.5836])
    last = -2 * 0.0045 * torch.tensor([0.4009, -0.8140, 0.4203])
    for image, moved, shift in zip(images, shifted, (first, last), strict=True):
        torch.testing.assert_close(moved - image, shift.view(3, 1, 1).expand(3, 5, 5))
    black = transforms.pca_colour(
        torch.zeros(1, 3, 1, 1), torch.tensor([[1.0, 0, 0]]), transforms.pca_axes()
    )
    assert black.sum() == 0


def test_pca_axes_are_orthonormal():
    axes = torch.tensor(transforms.PCA_VECTORS)
    torch.testing.assert_close(axes.T @ axes, torch.eye(3), atol=1e-3, rtol=0)


RANDAUGMENT = v2.RandAugment()._AUGMENTATION_SPACE
NAMES = ["Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness"]
NAMES += ["Contrast", "Color", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"]


@pytest.mark.parametrize(("kind", "name"), list(enumerate(NAMES)))
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("level", [9, 21])
def test_randaugment_is_torchvisions(kind, name, sign, level, images):
    ranges, signed = RANDAUGMENT[name]
    magnitudes = ranges(31, 48, 48)
    magnitude = float(magnitudes[level]) if magnitudes is not None else 0.0
    magnitude *= sign if signed else 1
    if name.startswith("Shear"):  # torchvision shears about a corner
        expected = affine(images, shear=[magnitude * (name[-1] == axis) for axis in "XY"])
    elif name.startswith("Translate"):  # and moves by whole pixels
        expected = affine(images, shift=[magnitude / 48 * (name[-1] == axis) for axis in "XY"])
    else:
        bilinear = InterpolationMode.BILINEAR
        apply = v2.RandAugment()._apply_image_or_video_transform
        expected = apply(images, name, magnitude, bilinear, {torch.Tensor: None})
    if name == "Rotate":  # torchvision turns the other way round; the sign is a coin's throw
        sign = -sign
    ours = RandAugment(1, level).operate(images, np.full((1, 4), kind), torch.full((1, 4), sign))
    torch.testing.assert_close(ours[INNER], expected[INNER], atol=2e-4, rtol=0)
    if name != "Identity":
        assert not torch.allclose(ours, images, atol=1e-3)


def test_each_image_has_its_own_operations_one_after_the_other(images):
    names = {name: kind for kind, name in enumerate(NAMES)}
    kinds = np.zeros((2, 4), np.int64)
    kinds[0, 1], kinds[1, 1] = names["Brightness"], names["Solarize"]
    kinds[1, 2] = names["Brightness"]
    signs = torch.tensor([[1.0] * 4, [1.0, 1.0, -1.0, 1.0]])
    ours = RandAugment(2, 10).operate(images, kinds, signs)
    torch.testing.assert_close(ours[[0, 3]], images[[0, 3]])
    expected = tv.solarize(tv.adjust_brightness(images[1], 1.3), 1 - 10 / 30)
    torch.testing.assert_close(ours[1], expected)
    torch.testing.assert_close(ours[2], tv.adjust_brightness(images[2], 0.7))
