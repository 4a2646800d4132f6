"""Predict image files, each from one or several crops (test-time augmentation)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import five_crop

from alexlab.data.decode import DEFAULT_WHITE, MAX_BYTES, BrokenImage, White, to_rgb, to_square
from alexlab.data.loader import prefetch
from alexlab.data.split import ONE_COLOUR
from alexlab.data.transforms import centre_crop
from alexlab.performance.devices import cores

NUMBERS = (1, 10, 144)
# pixels: GoogLeNet's sides for 144 crops (Szegedy et al. 2015), and the resolution of its net
SCALES, REFERENCE = (256, 288, 320, 352), 224


@dataclass(frozen=True)
class Crops:
    """Cut crops, uint8 [number, 3, resolution, resolution], from an image.

    Raises:
        ValueError: `number` is not in `NUMBERS`.
    """

    number: int
    resolution: int
    load_size: int
    fit: str
    white: White = DEFAULT_WHITE  # for files of more than 8 bits, as in training

    def __post_init__(self) -> None:
        """Check `number`."""
        if self.number not in NUMBERS:
            raise ValueError(f"crops={self.number}: no such number of crops; choose from {NUMBERS}")

    @property
    def sides(self) -> list[int]:
        """Return the sides in pixels of the squares from which the crops are cut."""
        if self.number == 144:
            return [round(self.resolution * scale / REFERENCE) for scale in SCALES]
        if self.number == 10 and self.load_size == self.resolution:
            return [round(self.resolution * SCALES[0] / REFERENCE)]
        return [self.load_size]

    def __str__(self) -> str:
        """Describe the crops: their number, their size and the squares."""
        sides = ", ".join(map(str, self.sides))
        return f"{self.number} crops of {self.resolution} px from squares of {sides} px"

    def of(self, image: Image.Image) -> Tensor:
        """Return the crops of an RGB image."""
        if self.number == 144:
            return torch.cat([self._of_scale(image, side) for side in self.sides])
        square = torch.from_numpy(to_square(image, self.sides[0], self.fit))
        if self.number == 10:
            return _mirrored(five_crop(square, [self.resolution] * 2))
        return centre_crop(square[None], self.resolution)

    def _of_scale(self, image: Image.Image, side: int) -> Tensor:
        views: list[Tensor] = []
        for square in squares(image, side, self.fit):
            views += five_crop(_pixels(square), [self.resolution] * 2)
            views.append(_pixels(_scaled(square, self.resolution)))
        return _mirrored(views)


def squares(image: Image.Image, side: int, fit: str) -> list[Image.Image]:
    """Return both ends and the middle of an image as squares of `side`; with squash, all of it."""
    if fit == "squash" or image.width == image.height:
        return [_scaled(image, side)]
    short = min(image.size)
    room = image.width - short, image.height - short  # one of them is 0
    starts = [(room[0] * share, room[1] * share) for share in (0, 0.5, 1)]
    return [_scaled(image, side, (x, y, x + short, y + short)) for x, y in starts]


def _scaled(
    image: Image.Image, side: int, box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BILINEAR, box)


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _mirrored(views: Iterable[Tensor]) -> Tensor:
    crops = torch.stack(list(views))
    return torch.cat([crops, crops.flip(3)])


BATCH = 256  # least number of crops in a forward pass, except the last

Seen = tuple[Path, Tensor | BrokenImage]


def predicted(
    paths: Iterable[Path],
    crops: Crops,
    predict: Callable[[Tensor], Tensor],
    *,
    flat: Callable[[Path], None] = lambda path: None,
) -> Iterator[Seen]:
    """Yield each path, in order, with the mean prediction [K] of its crops, or with its error.

    Memory use does not grow with the number of images.

    Args:
        paths: Image files.
        crops: The crops of each image.
        predict: Crops uint8 [N, 3, R, R] -> probabilities or scores [N, K].
        flat: Called with the path of an image that decodes to nearly one colour.
    """
    batch: list[Seen] = []
    views = 0
    for path, seen in _read(paths, crops):
        batch.append((path, seen))
        if not isinstance(seen, BrokenImage) and seen.float().std((0, 2, 3)).max() < ONE_COLOUR:
            flat(path)
        views += 0 if isinstance(seen, BrokenImage) else len(seen)
        if views >= BATCH:
            yield from _averaged(batch, predict)
            batch, views = [], 0
    yield from _averaged(batch, predict)


def predict_all(paths: Iterable[Path], crops: Crops, predict: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the predictions [N, K] of N images, as in `predicted`.

    Raises:
        ValueError: An image is broken.
    """
    found = []
    for path, prediction in predicted(paths, crops, predict):
        if isinstance(prediction, BrokenImage):
            raise ValueError(f"broken image {str(path)!r}: {prediction}")
        found.append(prediction)
    return torch.stack(found)


def _averaged(batch: list[Seen], predict: Callable[[Tensor], Tensor]) -> Iterator[Seen]:
    good = [seen for _, seen in batch if not isinstance(seen, BrokenImage)]
    if good:
        predictions = iter(torch.split(predict(torch.cat(good)).cpu(), list(map(len, good))))
    for path, seen in batch:
        yield path, seen if isinstance(seen, BrokenImage) else next(predictions).mean(0)


def _read(paths: Iterable[Path], crops: Crops) -> Iterator[Seen]:
    """Read and cut images in threads, a few images in advance."""

    def read(path: Path) -> Seen:
        try:
            if (size := path.stat().st_size) > MAX_BYTES:
                raise BrokenImage(f"a file of {size / 1e6:,.0f} MB")
            return path, crops.of(to_rgb(path.read_bytes(), crops.white).image)
        except OSError as error:
            return path, BrokenImage(error.strerror or str(error))
        except BrokenImage as error:
            return path, error

    return prefetch(read, paths, threads=cores())
