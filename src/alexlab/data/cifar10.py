"""CIFAR-10 (Krizhevsky 2009): 50,000 images to learn from, 10,000 of an official test."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision.datasets import CIFAR10

from alexlab.data.datamodule import ImageFolderData
from alexlab.data.files import ImageFiles, create_once, find_class_images

META = [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]


class Cifar10Data(ImageFolderData):
    """`root/{train,test}/<class>/*`, or the python version as torchvision knows it.

    The latter's pickles are read only when their checksums are those that torchvision lists; their
    images are written out once, without loss, below the cache.
    """

    def find_files(self) -> ImageFiles:
        """The folders, or what the pickles hold."""
        root, written = self.folder(), self.cache_dir / "cifar10-images"
        batches = root / CIFAR10.base_folder
        if batches.is_dir():
            root = create_once(written, lambda folder: write_images(batches, folder))
        return find_class_images(root)


def write_images(batches: Path, folder: Path) -> None:
    """Write `folder/{train,test}/<class>/<number>.png` from the pickles."""
    print("writing out the images of CIFAR-10, once", flush=True)
    names = _load(batches, *META)[CIFAR10.meta["key"]]
    for part, files in (("train", CIFAR10.train_list), ("test", CIFAR10.test_list)):
        for name in names:
            (folder / part / name).mkdir(parents=True)
        number = 0
        for file, md5 in files:
            batch = _load(batches, file, md5)
            pixels = np.asarray(batch["data"]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            for image, label in zip(pixels, batch["labels"], strict=True):
                path = folder / part / names[label] / f"{number:05d}.png"
                Image.fromarray(image).save(path, compress_level=1)
                number += 1


def _load(batches: Path, file: str, md5: str) -> dict[str, Any]:
    """Unpickle a file whose content is known: a pickle from elsewhere could run anything."""
    content = (batches / file).read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise ValueError(
            f"{batches / file} is not CIFAR-10's own file, by its md5; it was not opened\n"
            "(`alexlab data fetch cifar10` gets the right one)"
        )
    loaded: dict[str, Any] = pickle.loads(content, encoding="latin1")
    return loaded
