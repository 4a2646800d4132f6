"""Each representation against another implementation: scipy, numpy, colorsys, PIL."""

import colorsys
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from alexlab.data import representation
from alexlab.data.representation import REPRESENTATIONS, Representation


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    noise[0, :, :4] = 77  # grey
    noise[0, :, 4:8] = torch.tensor([0, 255, 128], dtype=torch.uint8)[:, None, None]
    noise[1, :, :4] = 0  # black
    return noise


def pil(image):
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def test_gray_is_pils(images):
    ours = representation.gray(images / 255)[:, 0]
    theirs = torch.stack([torch.from_numpy(np.array(pil(i).convert("L"))) for i in images])
    assert (ours * 255 - theirs).abs().max() <= 0.51  # PIL rounds


def test_ycbcr_is_pils_jpeg_conversion(images):
    ours = representation.ycbcr(images / 255)
    theirs = np.stack([np.array(pil(i).convert("YCbCr")) for i in images]).transpose(0, 3, 1, 2)
    offset = torch.tensor([0, 128 / 255 - 0.5, 128 / 255 - 0.5]).view(3, 1, 1)  # zero chroma is 128
    assert ((ours + offset) * 255 - torch.from_numpy(theirs)).abs().max() <= 1.01


def test_hsv_is_colorsys(images):
    pixels = (images / 255).permute(0, 2, 3, 1).reshape(-1, 3)
    ours = representation.hsv(images / 255).permute(0, 2, 3, 1).reshape(-1, 3)
    theirs = torch.tensor([colorsys.rgb_to_hsv(*pixel) for pixel in pixels.tolist()])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_dct_is_scipys_around_every_pixel(images):
    planes = np.pad(representation.ycbcr(images / 255), ((0, 0), (0, 0), (3, 4), (3, 4)), "reflect")
    ours = representation.DCT()(images / 255)
    assert ours.shape == (2, 16, 32, 32)
    zigzag = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0)]
    channels = [(0, u, v) for u, v in zigzag]
    channels += [(plane, u, v) for plane in (1, 2) for u, v in [(0, 0), (0, 1), (1, 0)]]
    for row, column in [(3, 3), (11, 19), (0, 0), (31, 31), (7, 30)]:  # (3, 3): JPEG's first block
        block = planes[:, :, row : row + 8, column : column + 8]
        theirs = scipy.fft.dctn(block, axes=(2, 3), norm="ortho")
        for channel, (plane, u, v) in enumerate(channels):
            np.testing.assert_allclose(
                ours[:, channel, row, column], theirs[:, plane, u, v], atol=1e-5
            )


@pytest.mark.parametrize("size", [32, 31])
def test_fft_is_numpys(images, size):
    pixels = (images / 255)[..., :size, :size]
    spectrum = np.abs(np.fft.fft2(pixels.numpy(), norm="ortho"))
    theirs = np.fft.fftshift(np.log(spectrum + 1e-3), axes=(2, 3))
    np.testing.assert_allclose(representation.fft(pixels), theirs, atol=1e-3)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_photographs_come_out_at_about_mean_0_and_scale_1(name):
    # spectrum falling as 1 / frequency, as in photographs (Field 1987); ImageNet's mean and spread,
    # luma four times as strong as the opponent colours
    generator = torch.Generator().manual_seed(0)
    frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(64)[None]) * 64
    noise = torch.fft.fft2(torch.randn(32, 3, 64, 64, generator=generator))
    planes = torch.fft.ifft2(noise / frequency.clamp(min=0.5)).real
    planes /= planes.std()
    luma, first, second = planes.unbind(1)
    colours = [
        luma + 0.3 * first,
        luma - 0.15 * first + 0.1 * second,
        luma - 0.4 * first - second / 4,
    ]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    photographs = (mean + 0.22 * torch.stack(colours, 1)).clamp(0, 1)
    view = Representation(name)(photographs)
    assert view.shape == (32, view.shape[1], 64, 64)
    assert view.mean((0, 2, 3)).abs().max() < 0.9
    assert view.std((0, 2, 3)).min() > 0.4
    assert view.std((0, 2, 3)).max() < 1.7


@pytest.mark.real_data
@pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set")
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_real_photographs_come_out_at_about_mean_0_and_scale_1(name):
    paths = sorted(Path(os.environ["DATA_DIR"], "flower_photos").glob("*/*.jpg"))[::40]
    photographs = [pil_to_tensor(Image.open(path).resize((64, 64))) for path in paths]
    view = Representation(name)(torch.stack(photographs) / 255)
    assert view.mean((0, 2, 3)).abs().max() < 0.6
    assert view.std((0, 2, 3)).min() > 0.7
    assert view.std((0, 2, 3)).max() < 1.6


def test_rgb_is_standardised_as_imagenet_is():
    white = Representation("rgb")(torch.ones(1, 3, 2, 2))
    expected = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(white[0, :, 0, 0], torch.tensor(expected))


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_an_image_is_seen_alike_in_any_batch(name, images):
    alone, together = Representation(name)(images[:1] / 255), Representation(name)(images / 255)
    torch.testing.assert_close(alone[0], together[0])
    assert alone.shape[1] == Representation(name).num_channels
    assert together.is_contiguous(memory_format=torch.channels_last)
    assert together.isfinite().all()


def test_an_unknown_representation_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"did you mean hsv.*rgb, gray, ycbcr"):
        Representation("hsb")
