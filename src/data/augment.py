"""Augmentation of training batches on their device: every image by its own draw.

All draws come from torch's global generators and from nowhere else, so that seeding those repeats a
batch. The articles use shifts, turns, stretches and warps (001) and random crops (004).
"""

import math

import torch
from torch import Tensor, nn

from src.data import transforms
from src.data.randaugment import OPERATIONS, rand_augment


class Augment(nn.Module):
    """uint8 [N, 3, S, S] -> float32 [N, 3, R, R], RGB in [0, 1]; every setting is off at 0.

    Args:
        crop: cut the square at random, not in the centre; it needs images larger than the net's.
        flip: probability of a left-right mirror image.
        shift: largest shift along each axis, as a share of the side.
        rotate: largest turn either way, degrees.
        stretch: largest relative change of width and of height, each on its own.
        shear: largest slope along each axis.
        brightness: largest relative change; likewise `contrast` and `saturation`.
        pca: standard deviation of the shift along ImageNet's colour axes; AlexNet's was 0.1.
        randaugment: number of RandAugment's operations an image.
        magnitude: of these operations, of 30.

    Raises:
        ValueError: a setting out of its range.
    """

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
        self.pca, self.randaugment, self.magnitude = pca, randaugment, magnitude
        most = {"rotate": 180, "stretch": 0.9, "pca": math.inf, "randaugment": 14, "magnitude": 30}
        others = {"flip": flip, "pca": pca, "randaugment": randaugment, "magnitude": magnitude}
        for name, value in (self.warp | self.colour | others).items():
            if not 0 <= value <= most.get(name, 1):
                raise ValueError(f"augment.{name}={value} must be in [0, {most.get(name, 1)}]")

    def forward(self, images: Tensor, resolution: int) -> Tensor:
        """Warp, crop and mirror, then change the colours."""
        if any(self.warp.values()):
            images = self._warp(images.float() / 255)
        images = self._crop_flip(images, resolution)
        if images.dtype == torch.uint8:
            images = images.float() / 255
        for name, most in self.colour.items():
            if most:
                factor = 1 + most * self._draw(images)
                images = getattr(transforms, name)(images, factor)
        if self.pca:
            alpha = self.pca * torch.randn(len(images), 3, device=images.device)
            images = transforms.pca_colour(images, alpha)
        return self._rand_augment(images) if self.randaugment else images

    @staticmethod
    def _draw(images: Tensor, *shape: int) -> Tensor:
        """Uniform in [-1, 1], [N, *shape]."""
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

    def _rand_augment(self, images: Tensor) -> Tensor:
        shape = (self.randaugment, len(images))
        kinds = torch.randint(OPERATIONS, shape)  # on the CPU: they choose the kernels
        signs = torch.randint(2, shape, device=images.device) * 2.0 - 1
        return rand_augment(images, kinds, signs, self.magnitude)
