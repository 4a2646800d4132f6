import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from alexlab.data.decode import BrokenImage, read_image, to_rgb, to_square


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def pixel(content):
    image = to_rgb(content).image
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


def test_rgba_is_composited_on_white():
    assert pixel(encoded(Image.new("RGBA", (2, 2), (200, 0, 100, 0)))) == (255, 255, 255)
    # half of (200, 0, 100) and half of white, by hand; alpha 128/255
    assert pixel(encoded(Image.new("RGBA", (2, 2), (200, 0, 100, 128)))) == (227, 127, 177)


def test_grey_with_alpha_is_composited_on_white():
    assert pixel(encoded(Image.new("LA", (2, 2), (10, 0)))) == (255, 255, 255)
    assert pixel(encoded(Image.new("LA", (2, 2), (10, 255)))) == (10, 10, 10)


def test_palette_and_its_transparent_colour():
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert pixel(encoded(image)) == (10, 20, 30)
    assert pixel(encoded(image, transparency=1)) == (255, 255, 255)
    assert pixel(encoded(image, "GIF")) == (10, 20, 30)


def test_rgb_with_a_transparent_colour():
    content = encoded(Image.new("RGB", (2, 2), (10, 20, 30)), transparency=(10, 20, 30))
    assert pixel(content) == (255, 255, 255)


def test_grey_and_bits():
    assert pixel(encoded(Image.new("L", (2, 2), 77))) == (77, 77, 77)
    assert pixel(encoded(Image.new("1", (2, 2), 1))) == (255, 255, 255)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_high_byte(format):
    wide = Image.fromarray(np.full((2, 2), 0x80FF, np.uint16))
    assert pixel(encoded(wide, format)) == (0x80, 0x80, 0x80)


def test_sixteen_bit_rgb():
    rows = (b"\0" + struct.pack(">HHH", 0x10FF, 0x20FF, 0x30FF) * 2) * 2  # no writer in Pillow
    content = png(2, 2, zlib.compress(rows), depth=16)
    assert pixel(content) == (0x10, 0x20, 0x30)


def test_cmyk():
    red, green, blue = pixel(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert red > 240
    assert green < 15
    assert blue < 15


def test_exif_rotation_is_applied():
    wide = Image.new("RGB", (4, 2), "white")
    wide.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    image, format, *_ = to_rgb(encoded(wide, exif=exif))
    assert format == "PNG"
    assert image.size == (2, 4)
    assert image.getpixel((1, 0)) == (255, 0, 0)


def test_a_camera_s_two_pictures_in_one_jpeg_are_a_jpeg():
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    image, format, *_ = to_rgb(encoded(first, "MPO", save_all=True, append_images=[second]))
    assert format == "JPEG"
    assert image.getpixel((0, 0))[0] > 240


def png(width, height, data=b"", depth=8):
    def chunk(kind, body):
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    return start + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [7_100, 10_000, 60_000])
def test_a_bomb_is_refused_by_its_header(side, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(BrokenImage, match="more than 50 million pixels"):
        to_rgb(png(side, side))


def test_pillow_does_not_warn_beside_the_own_limit():
    """Of 100 million pixels."""
    code = "from tests.data.test_decode import *; read = to_rgb(png(10_000, 10_000))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "BrokenImage" in done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"plain text", "not an image"),
        (encoded(Image.radial_gradient("L"), "JPEG")[:-500], "truncated"),
        (encoded(Image.radial_gradient("L"), "PNG")[:-500], "truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),  # runs Ghostscript
    ],
)
def test_broken_content_says_why(content, reason):
    with pytest.raises(BrokenImage, match=reason):
        to_rgb(content)


def test_every_truncation_is_an_answer_or_a_broken_image():
    whole = encoded(Image.radial_gradient("L").resize((40, 40)), "JPEG")
    for end in range(0, len(whole), 20):
        with pytest.raises(BrokenImage):
            to_rgb(whole[:end])


def test_crop_keeps_the_centre_and_squash_everything():
    stripes = np.zeros((8, 16, 3), np.uint8)
    stripes[:, :4] = stripes[:, 12:] = 255  # what a centre crop loses
    image = Image.fromarray(stripes)
    assert to_square(image, 8, "crop").max() == 0
    squashed = to_square(image, 8, "squash")
    assert squashed.shape == (3, 8, 8)
    assert squashed[:, :, 0].min() == squashed[:, :, 7].min() == 255


def test_read_image_keeps_the_reason_and_the_hash(tmp_path):
    (tmp_path / "x.png").write_bytes(b"abc")
    facts, pixels = read_image(tmp_path / "x.png", 8, "crop")
    assert pixels is None
    assert facts.sha1 == "a9993e364706816aba3e25717850c26c9cd0d89d"  # SHA-1 of "abc", FIPS 180
    assert "not an image" in facts.error
