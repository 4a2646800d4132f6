"""Transform a batch with separate parameters for each image; augment.py draws the parameters.

This is own tensor code, since torchvision draws its parameters once per batch; image by image it
takes 1.6 to 4 times as long. kornia takes 1.2 to 5 times as long, and would be one more dependency
(benchmarks/augment.py). The tests compare the results with torchvision. No function copies data
from or to a GPU, since each training step would wait for that copy.
Images and results are float [N, 3, S, S] in [0, 1] unless stated otherwise.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from alexlab.data.representation import gray

# Eigenvalues and eigenvectors (columns) of the covariance of ImageNet's RGB pixels in [0, 1], from
# fb.resnet.torch; Krizhevsky et al. do not print theirs.
PCA_VALUES = [0.2175, 0.0188, 0.0045]
PCA_VECTORS = [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]


def centre_crop(images: Tensor, resolution: int) -> Tensor:
    """Cut the centre [N, 3, R, R] of [N, 3, S, S]; any dtype; an odd margin is right and below."""
    start = (images.shape[-1] - resolution) // 2
    return images[..., start : start + resolution, start : start + resolution]


def crop_flip(images: Tensor, resolution: int, corner: Tensor, mirror: Tensor) -> Tensor:
    """Cut R x R at `corner` [2, N] int64 (top, left); mirror where `mirror` [N] bool; any dtype."""
    count, channels, size, _ = images.shape
    along = torch.arange(resolution, device=images.device)
    rows = corner[0, :, None] + along  # [N, R]
    columns = corner[1, :, None] + torch.where(mirror[:, None], along.flip(0), along)
    where = (rows[:, :, None] * size + columns[:, None, :]).view(count, 1, -1)
    flat = images.reshape(count, channels, -1).gather(2, where.expand(-1, channels, -1))
    return flat.view(count, channels, resolution, resolution)


def warp(
    images: Tensor,
    *,
    angle: Tensor | float = 0.0,
    shift: Tensor | float = 0.0,
    stretch: Tensor | float = 1.0,
    shear: Tensor | float = 0.0,
) -> Tensor:
    """Stretch, shear, rotate and shift each image in this order, with one bilinear interpolation.

    `angle` [N] is in radians, clockwise about the centre. `shift` [N, 2] is to the right and down,
    as a share of the side. `stretch` [N, 2] (factors) and `shear` [N, 2] (slopes) are along x and
    y. Pixels outside an image repeat its edge, as in Keras.
    """
    pairs = images.new_ones(len(images), 2)
    turn = angle * pairs[:, 0]
    cos, sin = turn.cos(), turn.sin()
    (right, down), (wide, high), (slope_x, slope_y) = (
        (value * pairs).unbind(1) for value in (shift, stretch, shear)
    )
    # The source of each output pixel: the inverse of each operation, in reverse order.
    ax, bx = (cos - slope_x * sin) / wide, (sin + slope_x * cos) / wide
    ay, by = (slope_y * cos - sin) / high, (slope_y * sin + cos) / high
    back_x, back_y = -2 * (ax * right + bx * down), -2 * (ay * right + by * down)  # sides are 2
    theta = torch.stack([ax, bx, back_x, ay, by, back_y], 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def blend(images: Tensor, other: Tensor | float, share: Tensor) -> Tensor:
    """Return share * images + (1 - share) * other, clipped to [0, 1]; `share` [N] may exceed 1."""
    share = share.view(-1, 1, 1, 1)
    return (images * share + other * (1 - share)).clamp_(0, 1)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply each image by its `factor` [N]."""
    return blend(images, 0.0, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance of each pixel from its image's mean luma by `factor` [N]."""
    return blend(images, gray(images).mean((1, 2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the distance of each pixel's colours from its luma by `factor` [N]."""
    return blend(images, gray(images), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the difference between each image and its `blur` by `factor` [N]."""
    return blend(images, blur(images), factor)


def blur(images: Tensor) -> Tensor:
    """Blur with weight 5/13 for each pixel and 1/13 for its eight neighbours; keep edge pixels.

    torchvision's `adjust_sharpness(images, 0)` is equal, but copies its kernel to the device.
    """
    if min(images.shape[-2:]) < 3:
        return images
    kernel = images.new_full((images.shape[1], 1, 3, 3), 1 / 13)
    kernel[:, :, 1, 1] = 5 / 13
    blurred = images.clone()
    inner = blurred[..., 1:-1, 1:-1]
    # the same order of operations as torchvision's, for equal rounding
    inner.add_(F.conv2d(images, kernel, groups=images.shape[1]).sub_(inner))
    return blurred.clamp_(0, 1)


def pca_axes() -> Tensor:
    """Return the eigenvectors as columns [3, 3], each multiplied by its eigenvalue."""
    return torch.tensor(PCA_VECTORS) * torch.tensor(PCA_VALUES)


def pca_colour(images: Tensor, alpha: Tensor, axes: Tensor) -> Tensor:
    """Add ImageNet's colour axes (`pca_axes`), multiplied by `alpha` [N, 3], to every pixel.

    Source: Krizhevsky et al. 2012, section 4.1, with alpha ~ N(0, 0.1); here clipped to [0, 1].
    """
    return (images + (alpha @ axes.T)[:, :, None, None]).clamp_(0, 1)
