"""Generate a data set: five classes of coloured shapes on textured backgrounds.

Each picture also has a score from 1 to 10. The score grows with the shape's size and its contrast
to the background; it does not depend on the class.
"""

import colorsys
import csv
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from alexlab.data.datamodule import ImageFolderData
from alexlab.data.files import ImageFiles, create_once, list_folders
from alexlab.data.labels_csv import find_scored_images
from alexlab.errors import lookup

SIDE = 64  # pixels
CLASSES = {"circle": 40, "cross": 0, "square": 4, "star": 10, "triangle": 3}
"""Number of corners of each shape; `_corners` lists those of the cross."""


class ShapesData(ImageFolderData):
    """Draw `root/<class>/*.png` and `root/labels.csv` once, then load them as an image folder.

    Args:
        root: The pictures are drawn into the folder `<root>-<num_images>-<draw_seed>`. If `root`
            itself has class folders, nothing is drawn and its images are read.
        targets: "class", or "score" for regression.
        num_images: Number of images of all classes together.
        draw_seed: Seed of the pictures.
        **settings: See `ImageFolderData`.
    """

    def __init__(
        self, root: str | None, *, targets: str, num_images: int, draw_seed: int, **settings: Any
    ) -> None:
        if not root:
            raise ValueError("data.root=null: set a folder for the images to be drawn")
        self.draws = not (Path(root).is_dir() and list_folders(Path(root)))
        super().__init__(f"{root}-{num_images}-{draw_seed}" if self.draws else root, **settings)
        if self.draws:
            self.source_notes = ("drawn by this program: not a real data set",)
        self.scored = lookup("data.targets", targets, {"class": False, "score": True})
        if num_images < 10 * len(CLASSES):
            raise ValueError(f"data.num_images={num_images}: must be at least {10 * len(CLASSES)}")
        self.num_images, self.draw_seed = num_images, draw_seed

    def find_files(self) -> ImageFiles:
        """Draw the pictures unless they exist, and list them."""
        root = Path(str(self.root))
        if self.draws:
            create_once(root, lambda new: draw_folder(new, self.num_images, self.draw_seed))
        return find_scored_images(root) if self.scored else super().find_files()


def draw_folder(root: Path, num_images: int, seed: int) -> None:
    """Draw the pictures into `root`, and write its labels.csv."""
    rows = []
    for i in range(num_images):
        name = list(CLASSES)[i % len(CLASSES)]
        image, score = draw(name, np.random.default_rng((seed, i)))
        path = f"{name}/{i:05d}.png"
        (root / name).mkdir(parents=True, exist_ok=True)
        image.save(root / path)
        rows.append((path, f"{score:.3f}"))
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("filename", "score"), *rows])
        file.flush()
        os.fsync(file.fileno())


def draw(name: str, rng: np.random.Generator) -> tuple[Image.Image, float]:
    """Draw one picture of SIDE x SIDE pixels; return it and its score in [1, 10]."""
    ground = _colour(rng)
    contrast, size = rng.uniform(0.5, 1.0), rng.uniform(0.3, 0.5)
    paint = ground + contrast * (_colour(rng, apart_from=ground) - ground)
    big = 4 * SIDE  # drawn large, then reduced, for smooth edges
    mask = Image.new("L", (big, big))
    room = 0.5 - 0.9 * size
    centre = 0.5 + rng.uniform(-room, room, 2)
    ImageDraw.Draw(mask).polygon(_corners(name, rng, centre, size, big), fill=255)
    alpha = np.asarray(mask.resize((SIDE, SIDE), Image.Resampling.BOX))[..., None] / 255
    pixels = (ground + _texture(rng)) * (1 - alpha) + (paint + 0.4 * _texture(rng)) * alpha
    pixels += rng.normal(0, 0.03, pixels.shape)
    score = 1 + 4.5 * (size - 0.3) / 0.2 + 4.5 * (contrast - 0.5) / 0.5
    return Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)), score


def _colour(rng: np.random.Generator, apart_from: np.ndarray | None = None) -> np.ndarray:
    """Draw a random RGB colour in [0, 1], far from the colour `apart_from`."""
    while True:
        colour = np.array(colorsys.hsv_to_rgb(*rng.uniform((0, 0.1, 0.2), (1, 0.9, 0.95))))
        if apart_from is None or np.abs(colour - apart_from).sum() > 0.9:
            return colour


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Draw stripes from two random waves, [SIDE, SIDE, 1] around 0."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    waves = np.zeros((SIDE, SIDE))
    for _ in range(2):
        angle, turns, phase = rng.uniform((0, 2, 0), (math.pi, 12, 2 * math.pi))
        waves += np.sin(2 * math.pi * turns * (x * math.cos(angle) + y * math.sin(angle)) + phase)
    return 0.04 * waves[..., None]


def _corners(
    name: str, rng: np.random.Generator, centre: np.ndarray, size: float, side: int
) -> list[tuple[float, float]]:
    """Compute the shape's corners in pixels, with a small random rotation and stretch."""
    if name == "cross":
        w = 0.3
        r = [(w, 1), (w, w), (1, w), (1, -w), (w, -w), (w, -1)]
        points = np.array(r + [(-a, -b) for a, b in r])
    else:
        n = CLASSES[name]
        angles = 2 * math.pi * np.arange(n) / n - (math.pi / 4 if n == 4 else math.pi / 2)
        radii = np.where(np.arange(n) % 2, 0.45, 1.0) if name == "star" else np.ones(n)
        points = np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)
    turn, stretch = rng.uniform(-0.4, 0.4), rng.uniform(0.8, 1.25)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    placed = centre + size * (points * (stretch, 1)) @ rotation.T
    return [(float(x), float(y)) for x, y in placed * side]
