"""Transform pixels to a colour space or to frequencies, standardised to about mean 0 and std 1.

The CIFAR-10 article asks for a representation of images other than three colours.
Every representation maps RGB [N, 3, R, R] in [0, 1] to [N, C, R, R]. The resolution does not
change: a network for R pixels only needs C input channels.

- `dct`: cosine coefficients of 8x8 blocks of YCbCr, as in JPEG; one channel per frequency.
  JPEG has one block per eight pixels, but a map of R/8 is too small for AlexNet; here each pixel
  has a block around it. (Xu et al. 2020, "Learning in the frequency domain", enlarge the image
  instead; they lose little accuracy with 24 of the 192 frequencies. Here the lowest 16 are kept.)
- `fft`: log-magnitude spectrum of each colour. The phase, which encodes positions, is left out.

The constants do not depend on the data set, the seed or the batch. RGB has ImageNet's. The others
were measured on photographs (flower_photos, LIVE in the Wild; 600 each at 64 pixels) and rounded.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexlab.errors import lookup

# (plane: Y, Cb or Cr; vertical frequency; horizontal frequency). Fewer for chroma, as in JPEG.
FREQUENCIES = [
    (plane, u, v)
    for plane, kept in enumerate([4, 2, 2])
    for u in range(kept)
    for v in range(kept - u)
]


def gray(images: Tensor) -> Tensor:
    """Compute the luma of ITU-R BT.601, as PIL's mode L and JPEG do: [N, 1, R, R] in [0, 1]."""
    return 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]


def ycbcr(images: Tensor) -> Tensor:
    """Convert to JPEG's full-range YCbCr (JFIF 1.02): [N, 3, R, R] in [0, 1]; grey is at 0.5."""
    luma = gray(images)
    blue, red = (images[:, 2:] - luma) / 1.772 + 0.5, (images[:, :1] - luma) / 1.402 + 0.5
    return torch.cat([luma, blue, red], 1)


def hsv(images: Tensor) -> Tensor:
    """Convert to hue, saturation and value, [N, 3, R, R] in [0, 1]; red and grey have hue 0."""
    value, largest = images.max(1, keepdim=True)
    spread = value - images.amin(1, keepdim=True)
    differences = images.roll(-1, 1) - images.roll(-2, 1)  # g - b, b - r, r - g
    sextant = differences.gather(1, largest) / spread.clamp(min=1e-8) + 2 * largest
    hue = torch.where(spread > 0, (sextant / 6) % 1, 0.0)
    return torch.cat([hue, spread / value.clamp(min=1e-8), value], 1)


class DCT(nn.Module):
    """Compute the lowest 8x8 DCT coefficients around every pixel: [N, 16, R, R].

    There are 10 of Y, 3 of Cb and 3 of Cr. The block of pixel (i, j) is rows i-3 to i+4 and columns
    j-3 to j+4; images are mirrored at their edges.
    """

    filters: Tensor  # of the orthonormal DCT-II, [16, 3, 8, 8]

    def __init__(self) -> None:
        super().__init__()
        turn = (torch.arange(8) + 0.5) * math.pi / 8
        wave = [torch.cos(k * turn) * (0.5 if k else math.sqrt(1 / 8)) for k in range(8)]
        filters = torch.zeros(len(FREQUENCIES), 3, 8, 8)
        for channel, (plane, u, v) in enumerate(FREQUENCIES):
            filters[channel, plane] = torch.outer(wave[u], wave[v])
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Convert to YCbCr and apply the filters as one convolution."""
        padded = F.pad(ycbcr(images), (3, 4, 3, 4), mode="reflect")
        return F.conv2d(padded, self.filters)


def fft(images: Tensor) -> Tensor:
    """Compute each colour's log-magnitude spectrum, zero frequency at [R // 2, R // 2].

    The transform is orthonormal. 0.001 is added to the magnitude: noise from rounding to 8 bits
    has about this size.
    """
    spectrum = torch.fft.fft2(images, norm="ortho").abs()
    shifted: Tensor = torch.fft.fftshift((spectrum + 1e-3).log(), dim=(2, 3))
    return shifted


def _dct_constants() -> tuple[list[float], list[float]]:
    """Return means and stds: frequencies of photographs have mean 0 and a std of c / (u + v)."""
    means = [0.0 if u + v else (3.68, 3.76, 4.16)[plane] for plane, u, v in FREQUENCIES]
    stds = [
        (0.45, 0.13, 0.13)[plane] / (u + v) if u + v else (1.8, 0.58, 0.5)[plane]
        for plane, u, v in FREQUENCIES
    ]
    return means, stds


Constants = tuple[list[float], list[float]]
Transform = Callable[[Tensor], Tensor]
REPRESENTATIONS: dict[str, tuple[Transform | type[DCT], Constants]] = {
    "rgb": (lambda images: images, ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])),
    "gray": (gray, ([0.46], [0.25])),
    "ycbcr": (ycbcr, ([0.46, 0.47, 0.52], [0.25, 0.08, 0.07])),
    "hsv": (hsv, ([0.33, 0.4, 0.49], [0.28, 0.28, 0.28])),
    "dct": (DCT, _dct_constants()),
    "fft": (fft, ([-3.25] * 3, [1.12] * 3)),
}


class Representation(nn.Module):
    """Map RGB [N, 3, R, R] in [0, 1] to standardised [N, num_channels, R, R], channels last.

    Raises:
        ValueError: If the name is unknown; the message lists the choices.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str = "rgb") -> None:
        super().__init__()
        transform, (mean, std) = lookup("data.representation", name, REPRESENTATIONS)
        self.transform: Transform = transform() if isinstance(transform, type) else transform
        self.num_channels = len(mean)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor, *, overwrite: bool = False) -> Tensor:
        """Transform a batch, subtract the means and divide by the stds.

        Args:
            images: RGB float32 [N, 3, R, R] in [0, 1].
            overwrite: Whether `images` may be overwritten; this saves one copy of the batch.
        """
        transformed = self.transform(images)
        if transformed is images and not overwrite:
            transformed = images.clone()
        transformed -= self.mean
        transformed /= self.std
        return transformed.contiguous(memory_format=torch.channels_last)
