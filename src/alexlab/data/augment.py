"""Augment training batches on their device, each image with its own random numbers.

All random numbers come from torch's global generators: the same seed gives the same batch. The
articles use shifts, rotations, stretches and warps (001) and random crops (004).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tv

from alexlab.data import transforms
from alexlab.data.loader import to_device
from alexlab.data.transforms import brightness, contrast, saturation, sharpness, warp


class Augment(nn.Module):
    """Map uint8 [N, 3, S, S] to augmented RGB float32 [N, 3, R, R] in [0, 1]; 0 turns a part off.

    Args:
        crop: Crop at a random position instead of the centre; needs S > R.
        flip: Probability of a horizontal flip.
        shift: Largest shift along each axis, as a share of the side.
        rotate: Largest rotation in either direction, degrees.
        stretch: Largest relative change of width and of height, drawn independently.
        shear: Largest slope along each axis.
        brightness: Largest relative change; likewise `contrast` and `saturation`.
        pca: Standard deviation of the shift along ImageNet's colour axes; AlexNet's was 0.1.
        randaugment: Number of RandAugment operations per image.
        magnitude: Magnitude of these operations, 0 to 30.

    Raises:
        ValueError: If a setting is out of its range.
    """

    pca_axes: Tensor

    def __init__(
        self,
        *,
        crop: bool = False,
        flip: float = 0.0,
        shift: float = 0.0,
        rotate: float = 0.0,
        stretch: float = 0.0,
        shear: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        pca: float = 0.0,
        randaugment: int = 0,
        magnitude: float = 9.0,
    ) -> None:
        super().__init__()
        self.crop, self.flip = crop, flip
        self.warp = {"shift": shift, "rotate": rotate, "stretch": stretch, "shear": shear}
        self.colour = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        self.pca = pca
        limits = {
            "rotate": 180,
            "stretch": 0.9,
            "pca": math.inf,
            "randaugment": 14,
            "magnitude": 30,
        }
        others = {"flip": flip, "pca": pca, "randaugment": randaugment, "magnitude": magnitude}
        for name, value in (self.warp | self.colour | others).items():
            if not 0 <= value <= limits.get(name, 1):
                raise ValueError(f"augment.{name}={value} must be in [0, {limits.get(name, 1)}]")
        self.rand_augment = RandAugment(randaugment, magnitude) if randaugment else None
        self.register_buffer("pca_axes", transforms.pca_axes(), persistent=False)

    def forward(self, images: Tensor, resolution: int) -> Tensor:
        """Warp, crop, flip, change the colours, then apply RandAugment; R is `resolution`."""
        if any(self.warp.values()):
            images = self._warp(images.float().div_(255))
        images = self._crop_flip(images, resolution)
        if images.dtype == torch.uint8:
            images = images.float().div_(255)
        for name, largest in self.colour.items():
            if largest:
                factor = 1 + largest * self._draw(images)
                images = getattr(transforms, name)(images, factor)
        if self.pca:
            alpha = self.pca * torch.randn(len(images), 3, device=images.device)
            images = transforms.pca_colour(images, alpha, self.pca_axes)
        return images if self.rand_augment is None else self.rand_augment(images)

    @staticmethod
    def _draw(images: Tensor, *shape: int) -> Tensor:
        """Draw [N, *shape] uniformly from [-1, 1)."""
        return 2 * torch.rand(len(images), *shape, device=images.device) - 1

    def _warp(self, images: Tensor) -> Tensor:
        return transforms.warp(
            images,
            angle=math.radians(self.warp["rotate"]) * self._draw(images),
            shift=self.warp["shift"] * self._draw(images, 2),
            stretch=1 + self.warp["stretch"] * self._draw(images, 2),
            shear=self.warp["shear"] * self._draw(images, 2),
        )

    def _crop_flip(self, images: Tensor, resolution: int) -> Tensor:
        count, room = len(images), images.shape[-1] - resolution
        if not (self.flip or self.crop):
            return transforms.centre_crop(images, resolution)
        device = images.device
        corner = torch.full((2, count), room // 2, device=device)
        if self.crop:
            corner = torch.randint(room + 1, (2, count), device=device)
        mirror = torch.rand(count, device=device) < self.flip
        return transforms.crop_flip(images, resolution, corner, mirror)


# Angle, shift x, shift y, shear x and shear y at full magnitude. The first operation is identity.
MOVES = [
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0.3, 0],
    [0, 0, 0, 0, 0.3],
    [0, 150 / 331, 0, 0, 0],
    [0, 0, 150 / 331, 0, 0],
    [math.radians(30), 0, 0, 0, 0],
]
# Arguments: images, a factor [N] about 1, the level in [0, 1]; some operations ignore both numbers.
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


class RandAugment(nn.Module):
    """Apply `number` random operations to each image, one after the other (Cubuk et al. 2020).

    Images and results are float32 [N, 3, R, R] in [0, 1]; `magnitude` is from 0 to 30.
    """

    moves: Tensor

    def __init__(self, number: int, magnitude: float) -> None:
        super().__init__()
        self.number, self.level = number, magnitude / 30
        self.register_buffer("moves", torch.tensor(MOVES), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Draw the operations and their signs, and apply them."""
        shape = (self.number, len(images))
        kinds = torch.randint(OPERATIONS, shape).numpy()  # on the CPU, which starts the kernels
        signs = torch.randint(2, shape, device=images.device) * 2.0 - 1
        return self.operate(images, kinds, signs)

    def operate(self, images: Tensor, kinds: NDArray[np.int64], signs: Tensor) -> Tensor:
        """Apply operations `kinds` [K, N] with `signs` [K, N] of 1 or -1 on the images' device."""
        # one asynchronous copy to the device: images sorted by operation, and the operations
        orders = np.argsort(kinds, 1, kind="stable")
        on_device = to_device(np.stack([orders, kinds]), images.device)
        for kind, order, kind_of, sign in zip(kinds, *on_device, signs, strict=True):
            amount, changed = self.level * sign, images.clone()
            groups = torch.split(order, np.bincount(kind, minlength=OPERATIONS).tolist())
            moved = order[len(groups[0]) : sum(map(len, groups[: len(MOVES)]))]
            if len(moved):
                move = self.moves[kind_of[moved]] * amount[moved, None]
                angle, shift, shear = move[:, 0], move[:, 1:3], move[:, 3:]
                changed[moved] = warp(images[moved], angle=angle, shift=shift, shear=shear)
            for group, change in zip(groups[len(MOVES) :], CHANGES, strict=True):
                if len(group):
                    changed[group] = change(images[group], 1 + 0.9 * amount[group], self.level)
            images = changed
        return images
