"""Load CIFAR-10 (Krizhevsky 2009): 50,000 training images and 10,000 official test images."""

import hashlib
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision.datasets import CIFAR10

from alexlab.data.datamodule import ImageFolderData
from alexlab.data.files import ImageFiles, create_once, find_class_images

log = logging.getLogger(__name__)

META = [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]


class Cifar10Data(ImageFolderData):
    """Load `root/{train,test}/<class>/*`, or the python version of CIFAR-10 as torchvision does.

    A pickle is read only if its checksum equals the one that torchvision lists. Its images are
    written once as PNG files (lossless) to the cache folder.
    """

    def find_files(self) -> ImageFiles:
        """List the images of the class folders; write those of the pickles first."""
        root, written = self.folder(), self.cache_dir / "cifar10-images"
        batches = root / CIFAR10.base_folder
        if batches.is_dir():
            root = create_once(written, lambda folder: write_images(batches, folder))
        return find_class_images(root)


def write_images(batches: Path, folder: Path) -> None:
    """Write `folder/{train,test}/<class>/<number>.png` from the pickles."""
    log.info("writing the images of CIFAR-10, once")
    names = _load(batches, *META)[CIFAR10.meta["key"]]
    for split, files in (("train", CIFAR10.train_list), ("test", CIFAR10.test_list)):
        for name in names:
            (folder / split / name).mkdir(parents=True)
        number = 0
        for file, md5 in files:
            batch = _load(batches, file, md5)
            pixels = np.asarray(batch["data"]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            for image, label in zip(pixels, batch["labels"], strict=True):
                path = folder / split / names[label] / f"{number:05d}.png"
                Image.fromarray(image).save(path, compress_level=1)
                number += 1


def _load(batches: Path, file: str, md5: str) -> dict[str, Any]:
    """Unpickle a file if its checksum is the expected one: another pickle could run any code."""
    content = (batches / file).read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise ValueError(
            f"{batches / file}: its md5 is not that of CIFAR-10's own file; it was not opened\n"
            "(`alexlab data fetch cifar10` downloads the original)"
        )
    loaded: dict[str, Any] = pickle.loads(content, encoding="latin1")
    return loaded
