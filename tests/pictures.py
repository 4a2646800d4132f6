"""Draw pictures for tests: smooth random patterns, tinted by class, all different."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

TINTS = [(200, 60, 60), (60, 200, 60), (60, 60, 200), (200, 200, 60), (60, 200, 200)]


def pixels(seed, tint=0, side=24):
    """Return uint8 [side, side, 3]; each seed gives a different picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    smooth = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    mixed = 0.5 * np.asarray(smooth, float) + 0.5 * np.array(TINTS[tint % len(TINTS)])
    return mixed.clip(0, 255).astype(np.uint8)


def grey(seed, tint=0, side=24):
    """Return float64 [side, side] in [0, 1]."""
    return pixels(seed, tint, side).mean(2) / 255


def class_folders(root, classes=("cat", "dog", "owl"), each=10, *, start=0, suffix="png"):
    """Write root/<class>/0000.png ...; return root."""
    for tint, name in enumerate(classes):
        (Path(root) / name).mkdir(parents=True)
        for i in range(each):
            picture = Image.fromarray(pixels(start + 1000 * tint + i, tint))
            picture.save(Path(root) / name / f"{i:04d}.{suffix}")
    return Path(root)


def grey_folders(root, encode, suffix="png", each=12):
    """Write three classes of grey pictures: `encode` maps [0, 1] to the values of the file."""
    for tint, name in enumerate(("cat", "dog", "owl")):
        (Path(root) / name).mkdir(parents=True)
        for i in range(each):
            values = encode(grey(1000 * tint + i, tint))
            Image.fromarray(values).save(Path(root) / name / f"{i:04d}.{suffix}")
    return Path(root)


def same_times(root, moment=1_700_000_000):
    """Give all files below `root` the same modification time, as an archive may do."""
    for path in Path(root).rglob("*"):
        os.utime(path, (moment, moment))
