"""RandAugment (Cubuk et al. 2020) of a batch, each image by its own operations.

The operations and their ranges are torchvision's, which draws them once a batch. Here all images
that move are moved in one sampling, the others by one call for each operation, whatever the batch.
Unlike torchvision's, these turn and shear about the centre, shift by parts of a pixel, and continue
the edges, where torchvision fills with black.
"""

import math
from collections.abc import Callable

from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from src.data.transforms import brightness, contrast, saturation, sharpness, warp

# At full magnitude: angle, shift and shear along x and y. The first is to do nothing.
MOVES = [
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0.3, 0],
    [0, 0, 0, 0, 0.3],
    [0, 150 / 331, 0, 0, 0],
    [0, 0, 150 / 331, 0, 0],
    [math.radians(30), 0, 0, 0, 0],
]
# Of images, with a factor [N] about 1 or the level in [0, 1], of which each takes what it needs.
CHANGES: list[Callable[[Tensor, Tensor, float], Tensor]] = [
    lambda images, factor, _: brightness(images, factor),
    lambda images, factor, _: contrast(images, factor),
    lambda images, factor, _: saturation(images, factor),
    lambda images, factor, _: sharpness(images, factor),
    lambda images, _, level: tv.posterize(images, 8 - round(4 * level)),
    lambda images, _, level: tv.solarize(images, 1 - level),
    lambda images, _, level: tv.autocontrast(images),
    lambda images, _, level: tv.equalize(images),
]
OPERATIONS = len(MOVES) + len(CHANGES)


def rand_augment(images: Tensor, kinds: Tensor, signs: Tensor, magnitude: float) -> Tensor:
    """Do to each of [N, 3, R, R] in [0, 1] the operations `kinds` [K, N], one after the other.

    `kinds` are int64 below OPERATIONS, on the CPU, since they choose what is called; `signs` [K, N]
    of 1 and -1 say which way, `magnitude` of 30 how far.
    """
    level, moves = magnitude / 30, images.new_tensor(MOVES)
    for kind, sign in zip(kinds, signs, strict=True):
        amount, changed = level * sign, images.clone()
        rows = _where((kind > 0) & (kind < len(MOVES)), images)
        if len(rows):
            move = moves[kind.to(images.device)[rows]] * amount[rows, None]
            angle, shift, shear = move[:, 0], move[:, 1:3], move[:, 3:]
            changed[rows] = warp(images[rows], angle=angle, shift=shift, shear=shear)
        for number, change in enumerate(CHANGES, start=len(MOVES)):
            rows = _where(kind == number, images)
            if len(rows):
                changed[rows] = change(images[rows], 1 + 0.9 * amount[rows], level)
        images = changed
    return images


def _where(mask: Tensor, images: Tensor) -> Tensor:
    return mask.nonzero()[:, 0].to(images.device)
