"""Decode an image file to RGB pixels of one size, or give the reason why that is impossible."""

import ctypes
import hashlib
import io
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 50_000_000
MAX_BYTES = 500_000_000  # more than MAX_PIXELS uncompressed 16-bit RGBA pixels
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its own limit is 89 million
# not EPS: it would run Ghostscript
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "AVIF", "TIFF", "PPM")
WHITE = (255, 255, 255, 255)
INTEGERS = (255, 1023, 4095, 16383, 65535)  # the greatest values of 8, 10, 12, 14 and 16 bits


def _silence_libtiff() -> None:
    """Stop libtiff from writing to standard error; `BrokenImage` has the reason instead."""
    Image.preinit()  # loads libtiff
    with suppress(OSError, AttributeError):  # not Linux, or a libtiff without these functions
        maps = Path("/proc/self/maps").read_text()
        for path in set(re.findall(r"/\S*libtiff\S*", maps)):
            library = ctypes.CDLL(path)
            for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
                handler = getattr(library, name)
                handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
                handler(None)


_silence_libtiff()


class BrokenImage(ValueError):
    """Report a file that cannot be decoded; the message is the reason, without the file's name."""


class Facts(NamedTuple):
    """Hold the facts about one file that the index stores.

    `phash` has 64 bits. `deviation` is the standard deviation of the grey values (0 to 255) at
    32 x 32 pixels. `error` is "" unless the file is broken. `low` and `high` are the least and the
    greatest value of a grey image of more than 8 bits, else 0.
    """

    sha1: str
    phash: int = 0
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    error: str = ""
    deviation: float = 0.0
    low: float = 0.0
    high: float = 0.0


class White(NamedTuple):
    """Hold the values that become 255 in grey images of more than 8 bits, for a whole data set.

    Many cameras and scanners store 10 or 12 bits in 16-bit files. `floats` is 0 if it is not known:
    each image of floats is then scaled by its own range.
    """

    integers: int = 65535
    floats: float = 0.0


DEFAULT_WHITE = White()


class Decoded(NamedTuple):
    """Hold an upright RGB image, and the format, mode and grey range of its file."""

    image: Image.Image
    format: str
    mode: str
    low: float = 0.0  # see Facts
    high: float = 0.0


def white_of(modes: Sequence[str], low: Sequence[float], high: Sequence[float]) -> White:
    """Find the values that become 255, from the modes and the ranges of all files.

    For integers this is the greatest value of the fewest bits (8, 10, 12, 14 or 16) that can hold
    all files; for floats it is 1 or one of these values.
    """
    tops: dict[str, float] = {}
    for mode, top in zip(modes, high, strict=True):
        tops[mode[:1]] = max(tops.get(mode[:1], 0), top)
    whole = next((top for top in INTEGERS if tops.get("I", 65535) <= top), 65535)
    return White(whole, _float_white(tops["F"]) if "F" in tops else 0.0)


def _float_white(high: float) -> float:
    return 1.0 if high <= 1 else float(next((top for top in INTEGERS if high <= top), 0))


def read_image(
    path: Path, size: int | None, fit: str, white: White = DEFAULT_WHITE, hashes: bool = True
) -> tuple[Facts, NDArray[np.uint8] | None]:
    """Read a file's facts and pixels [3, size, size]; no pixels if broken or `size` is None.

    Without `hashes`, `sha1`, `phash` and `deviation` are "", 0 and 0; they take half of the time.
    """
    if (size_on_disk := path.stat().st_size) > MAX_BYTES:
        return Facts("", error=f"a file of {size_on_disk / 1e6:,.0f} MB"), None
    content = path.read_bytes()
    sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest() if hashes else ""
    try:
        image, format, mode, low, high = to_rgb(content, white)
    except BrokenImage as error:
        return Facts(sha1, error=str(error)), None
    phash, deviation = 0, 0.0
    if hashes:
        small = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)  # as imagehash does
        phash = int(str(imagehash.phash(small)), 16)
        deviation = float(np.asarray(small, np.float64).std())
    facts = Facts(
        sha1, phash, image.width, image.height, format, mode, "", deviation, float(low), float(high)
    )
    return facts, None if size is None else to_square(image, size, fit)


def to_rgb(content: bytes, white: White = DEFAULT_WHITE) -> Decoded:
    """Decode the content of an image file to an upright RGB image.

    Transparent images are drawn on white. Grey values of more than 8 bits are scaled so that
    `white` becomes 255. EXIF rotation is applied.

    Raises:
        BrokenImage: If it is not an image, is truncated, has more than `MAX_PIXELS` pixels, or has
            grey values of unknown range.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:  # from the header; nothing is decoded yet
                raise Image.DecompressionBombError
            format, mode = "JPEG" if image.format == "MPO" else str(image.format), image.mode
            upright, low, high = ImageOps.exif_transpose(image), 0.0, 0.0
            if mode[0] in "IF":
                upright, low, high = _to_8_bits(upright, white)
            return Decoded(_opaque(upright), format, mode, low, high)
    except BrokenImage:
        raise
    except Image.DecompressionBombError:
        limit = MAX_PIXELS // 1_000_000
        raise BrokenImage(f"decompression bomb: more than {limit} million pixels") from None
    except UnidentifiedImageError:
        raise BrokenImage("not an image in a known format" if content else "empty file") from None
    except Exception as error:  # Pillow's decoders raise many types for damaged bytes
        raise BrokenImage(str(error) or type(error).__name__) from error


def _to_8_bits(image: Image.Image, white: White) -> tuple[Image.Image, float, float]:
    """Scale 16-bit grey (modes I;16 and I) or floats (F) to 8 bits; return the range too."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= INTEGERS[-1]):  # true for NaN too
        kind = "floats" if image.mode == "F" else "integers"
        raise BrokenImage(
            f"grey values ({kind}) from {low:g} to {high:g}: the value of white is unknown; save"
            " the image with 8 or 16 bits"
        )
    if image.mode == "F":
        scale = 255 / (white.floats or _float_white(high))
        grey = np.rint(values * scale).clip(0, 255)
    else:  # keep the 8 most significant bits in use
        grey = values.astype(np.int64).clip(0, white.integers) >> white.integers.bit_length() - 8
    return Image.fromarray(grey.astype(np.uint8)), low, high


def _opaque(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), rgba).convert("RGB")
    return image.convert("RGB")


def to_square(image: Image.Image, size: int, fit: str) -> NDArray[np.uint8]:
    """Resize an RGB image to [3, size, size] uint8, antialiased bilinear.

    `crop` scales the shorter side to `size` and cuts the centre, as torchvision's recipes do:
    proportions are preserved. `squash` scales both sides to `size`, as Keras' loaders do: nothing
    is cut, but proportions change.
    """
    target = (size, size), Image.Resampling.BILINEAR
    image = ImageOps.fit(image, *target) if fit == "crop" else image.resize(*target)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
