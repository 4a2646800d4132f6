"""Test-time crops: an image is seen several times, and what the net says of it is averaged.

- 1: the centre, as in every validation and test.
- 10: the four corners and the centre, and their mirrors, of the square image at `load_size`
  (Krizhevsky et al. 2012, section 4.1: 224 of 256). Where `load_size` leaves nothing to crop, the
  square has the paper's ratio to what the net sees, 8:7.
- 144: four scales (256, 288, 320 and 352 for a net that sees 224, here in that ratio), of each the
  left, middle and right (or upper, middle and lower) square, of each square its corners, centre
  and the whole, and their mirrors (Szegedy et al. 2014, "Going deeper with convolutions", s. 7).
  An image that is square, or squashed to one, has one square a scale: 48 different views, whose
  mean is that of the 144.

Every view is scaled from the file, as training's images are (src/data/decode.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import five_crop

from src.data.decode import to_square
from src.data.transforms import centre_crop

NUMBERS = (1, 10, 144)
SCALES, REFERENCE = (256, 288, 320, 352), 224  # pixels: GoogLeNet's, for what its net sees


@dataclass(frozen=True)
class Crops:
    """`number` views [number, 3, resolution, resolution] of an image.

    Raises:
        ValueError: A number that is not in `NUMBERS`.
    """

    number: int
    resolution: int
    load_size: int
    fit: str

    def __post_init__(self) -> None:
        """Check the number."""
        if self.number not in NUMBERS:
            raise ValueError(f"{self.number} crops are not known; choices: {NUMBERS}")

    @property
    def sides(self) -> list[int]:
        """Sides in pixels of the squares that the views are cut from."""
        if self.number == 144:
            return [round(self.resolution * scale / REFERENCE) for scale in SCALES]
        if self.number == 10 and self.load_size == self.resolution:
            return [round(self.resolution * SCALES[0] / REFERENCE)]
        return [self.load_size]

    def __str__(self) -> str:
        """For people: how many, of what, from what."""
        sides = ", ".join(map(str, self.sides))
        return f"{self.number} crops of {self.resolution} px from squares of {sides} px"

    def of(self, image: Image.Image) -> Tensor:
        """The views of an RGB image, uint8."""
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
    """Both ends and the middle of an image whose shorter side is scaled to `side`; or all of it."""
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
