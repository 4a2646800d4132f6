"""Decode an image file to RGB pixels of one size, or state why it cannot be decoded."""

import hashlib
import io
import warnings
from pathlib import Path
from typing import NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 50_000_000
MAX_BYTES = 500_000_000  # as many 16-bit RGBA pixels, packed badly
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow's, from 89 million on
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # not EPS: it would run Ghostscript
WHITE = (255, 255, 255, 255)


class BrokenImage(ValueError):
    """Raised for a file that cannot be decoded; the message is the reason, without its name."""


class Facts(NamedTuple):
    """Facts about one file, kept in the index. `phash` is 64 bits; `error` is "" if it is good."""

    sha1: str
    phash: int = 0
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    error: str = ""


def read_image(path: Path, size: int | None, fit: str) -> tuple[Facts, NDArray[np.uint8] | None]:
    """Read a file's facts and its pixels [3, size, size]; None if broken or `size` is None."""
    if (size_on_disk := path.stat().st_size) > MAX_BYTES:
        return Facts("", error=f"a file of {size_on_disk / 1e6:,.0f} MB"), None
    content = path.read_bytes()
    sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    try:
        image, format, mode = to_rgb(content)
    except BrokenImage as error:
        return Facts(sha1, error=str(error)), None
    phash = int(str(imagehash.phash(image)), 16)
    facts = Facts(sha1, phash, image.width, image.height, format, mode)
    return facts, None if size is None else to_square(image, size, fit)


def to_rgb(content: bytes) -> tuple[Image.Image, str, str]:
    """Decode an image file's content to an upright RGB image; return its format and mode too.

    Transparency is composited on white; 16-bit grey keeps its high byte; EXIF rotation is applied.

    Raises:
        BrokenImage: Not an image, truncated, of more than `MAX_PIXELS` pixels.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:  # known from the header; nothing is decoded yet
                raise Image.DecompressionBombError
            format, mode = "JPEG" if image.format == "MPO" else str(image.format), image.mode
            return _opaque(ImageOps.exif_transpose(image)), format, mode
    except Image.DecompressionBombError:
        limit = MAX_PIXELS // 1_000_000
        raise BrokenImage(f"decompression bomb: more than {limit} million pixels") from None
    except UnidentifiedImageError:
        raise BrokenImage("not an image in a known format" if content else "empty file") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on hostile bytes
        raise BrokenImage(str(error) or type(error).__name__) from error


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel, as I;16 or widened to I
        high = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
        image = Image.fromarray(high.astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), rgba).convert("RGB")
    return image.convert("RGB")


def to_square(image: Image.Image, size: int, fit: str) -> NDArray[np.uint8]:
    """Resize an RGB image to [3, size, size] uint8, antialiased bilinear.

    `crop` scales the shorter side to `size` and cuts the centre, as torchvision's recipes do, so
    that shapes keep their proportions; `squash` keeps everything and loses the proportions, as
    Keras' loaders do.
    """
    target = (size, size), Image.Resampling.BILINEAR
    image = ImageOps.fit(image, *target) if fit == "crop" else image.resize(*target)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
