"""Images in class folders, decoded once and split into train, val and test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexlab.data.augment import Augment
from alexlab.data.cache import ImageCache
from alexlab.data.decode import DEFAULT_WHITE
from alexlab.data.files import ImageFiles, check_usable, find_class_images, select_classes
from alexlab.data.loader import ArrayLoader, FetchFn, copy_used_images, index_select_batch
from alexlab.data.preprocess import Preprocess
from alexlab.data.split import (
    LEFT_OUT,
    TEST,
    check_broken,
    check_counts,
    data_warnings,
    load_or_create_split,
    select,
)
from alexlab.errors import check_folder, lookup, missing_data

EVAL_BATCH = 64  # least number of images: a batch without gradients takes little memory
GPU_SHARE = 0.25  # largest share of the free GPU memory for all images


class ImageFolderData(L.LightningDataModule):
    """Load images from `root/<class>/*` or `root/<split>/<class>/*`.

    The split depends only on the images, `split`, `split_seed` and the two split fractions. It does
    not depend on the seed, batch size, resolution, chosen classes or `fraction`.

    Args:
        root: Folder of the images.
        name: Name of the data set in messages and in the cache.
        resolution: Side of the network's input in pixels.
        batch_size: Number of images per training batch on each device.
        load_size: Side of the cached images in pixels; a larger one leaves room for random crops.
        fit: "crop" cuts the centre square of an image, "squash" changes its proportions.
        split: "grouped" keeps duplicates in one split, "random" ignores them.
        split_seed: Seed of the split.
        test_fraction: Share of all images for test; unused if there is an official test set.
        val_fraction: Share of all images for val; unused if there is an official val set.
        fraction: Share of the train images to use.
        classes: Names of the classes to use; None for all.
        on_broken: "error", or "skip" to leave out files that cannot be decoded.
        cache: "on", or "off" to decode the images of each batch again (for comparison).
        cache_dir: Folder for the decoded images.
        representation: Colour space or frequencies, see `alexlab.data.representation`.
        augment: Augmentation of train, uint8 [N, 3, S, S] -> float32 [N, 3, R, R].
        seed: Seed of the order of the training images.

    Attributes:
        classes: Names of the classes in the order of the targets; empty for scores.
        num_outputs: Number of outputs of a network for this data: the classes, or 1 for scores.
        in_channels: Channels of the preprocessed images.
        fingerprint: Hash of the images in use, the same on every machine.
        indices, counts: {split: indices among all files}, {split: {class: number of images}}.
        all_test: Whether all images are test images.
        white: The values that became 255 in grey images of more than 8 bits.
        notes: Sentences to print; `source_notes` are those that a subclass always adds.
        score_range: The least and the greatest score that the task allows.

    Raises:
        ValueError: If a setting is out of range.
    """

    source_notes: Sequence[str] = ()
    score_range: tuple[float, float] = (1.0, 10.0)

    def __init__(
        self,
        root: str | None,
        *,
        name: str,
        resolution: int,
        batch_size: int,
        load_size: int | None = None,
        fit: str = "crop",
        split: str = "grouped",
        split_seed: int = 0,
        test_fraction: float = 0.2,
        val_fraction: float = 0.1,
        fraction: float = 1.0,
        classes: list[str] | None = None,
        on_broken: str = "error",
        cache: str = "on",
        cache_dir: str = ".cache",
        representation: str = "rgb",
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.root, self.cache_dir = root, Path(cache_dir)
        self.name: str = name
        self.resolution, self.load_size = resolution, load_size or resolution
        self.batch_size, self.seed, self.fraction = batch_size, seed, fraction
        self.wanted = None
        if classes is not None:  # Hydra parses a name such as 7 as a number
            self.wanted = [str(c) for c in ([classes] if isinstance(classes, str) else classes)]
        self.split_seed, self.fractions = split_seed, (test_fraction, val_fraction)
        self.grouped = lookup("data.split", split, {"grouped": True, "random": False})
        self.skip_broken = lookup("data.on_broken", on_broken, {"error": False, "skip": True})
        self.use_cache = lookup("data.cache", cache, {"on": True, "off": False})
        self.fit = lookup("data.fit", fit, {"crop": "crop", "squash": "squash"})
        self._check_settings()
        self.preprocess = Preprocess(resolution, augment=augment, representation=representation)
        self.in_channels = self.preprocess.num_channels
        self._on_device: FetchFn | None = None  # set once the images are on a GPU

    def _check_settings(self) -> None:
        check_folder(f"cache_dir={self.cache_dir}", self.cache_dir)
        for key in ("batch_size", "resolution", "load_size"):
            value = getattr(self, key)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"data.{key}={value!r}: must be a whole number of at least 1")
        if self.load_size < self.resolution:
            raise ValueError(
                f"data.load_size={self.load_size} is smaller than data.resolution={self.resolution}"
            )
        if not 0 < self.fraction <= 1:
            raise ValueError(f"data.fraction={self.fraction}: must be above 0 and at most 1")
        test, val = self.fractions
        if not (0 < test < 1 and 0 < val < 1 and test + val < 1):
            raise ValueError(
                f"data.test_fraction={test} and data.val_fraction={val}: both must be above 0, and"
                " their sum below 1"
            )

    def find_files(self) -> ImageFiles:
        """List the image files; subclasses for other sources override this."""
        return find_class_images(self.folder())

    def folder(self) -> Path:
        """Return the root folder.

        Raises:
            ValueError: If no root is set.
            FileNotFoundError: If the folder does not exist.
        """
        if not self.root:
            raise ValueError(f"data={self.name} needs data.root=FOLDER, with images in <class>/")
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(missing_data(self.name, self.root))
        return root

    def prepare(self, *, all_test: bool = False) -> None:
        """Decode the images unless they are cached, and split them; this sets `num_outputs`.

        With `all_test` all images become test images, for an evaluation; one class is enough then.

        Raises:
            ValueError: If files are broken, classes are unusable, or a split is too small.
            FileNotFoundError: If the root folder does not exist.
        """
        self.files, self.all_test = self.find_files(), all_test
        files = self.files
        if all_test:
            wanted = files.classes if self.wanted is None else self.wanted
            chosen = [i for i, name in enumerate(files.classes) if name in wanted]
        else:
            chosen = select_classes(files.classes, self.wanted, files.hint)
            check_usable(files, chosen)
        self.cache = ImageCache(files, self.name, folder=self.cache_dir, fit=self.fit)
        index = self.cache.index(self.load_size if self.use_cache else None)
        if not self.skip_broken:
            check_broken(index)
        split_names = (
            np.where(index.broken, LEFT_OUT, TEST)
            if all_test
            else load_or_create_split(
                self.cache.folder, index, self.grouped, self.split_seed, self.fractions
            )
        )
        self.indices, self.counts, targets, self.fingerprint = select(
            index, split_names, classes=chosen, fraction=self.fraction, seed=self.split_seed
        )
        if not all_test:
            check_counts(self.name, self.counts, self.batch_size)
        self.white = index.white
        self.notes = data_warnings(index, split_names, grouped=self.grouped and not all_test)
        self.notes += [*self.preprocess.notes(self.load_size), *self.source_notes]
        self.targets = torch.from_numpy(targets)
        self.classes, self.num_outputs = [files.classes[i] for i in chosen], len(chosen) or 1
        self.images = None
        if self.use_cache:
            self.images = torch.from_numpy(self.cache.images(self.load_size))

    def setup(self, stage: str | None = None) -> None:
        """Call `prepare` unless it was called before; Lightning calls this method."""
        if not hasattr(self, "indices"):
            self.prepare()

    def _loader(self, split: str) -> ArrayLoader:
        trainer, train = self.trainer, split == "train"
        device = trainer.strategy.root_device if trainer else torch.device("cpu")
        fetch = self._fetch_on_device(device)
        return ArrayLoader(
            fetch or self._fetch_on_host(pin=device.type == "cuda"),
            self._train_indices() if train else self.indices[split],
            batch_size=self.batch_size if train else max(self.batch_size, EVAL_BATCH),
            shuffle=train,
            seed=self.seed,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            device=device if fetch else "cpu",
            prefetch=device.type == "cuda" and fetch is None,
        )

    def _train_indices(self) -> NDArray[np.int64]:
        """Return the train indices; with trainer.overfit_batches a fixed random part of them."""
        train: NDArray[np.int64] = self.indices["train"]
        batches = int(getattr(self.trainer, "overfit_batches", 0))
        if not batches:
            return train
        count = batches * self.batch_size * (self.trainer.world_size if self.trainer else 1)
        return np.random.default_rng(self.seed).permutation(train)[:count]

    def _fetch_on_device(self, device: torch.device) -> FetchFn | None:
        """Copy the images in use to the GPU; return None if they do not fit or there is no GPU."""
        if self.images is None or device.type != "cuda":
            return None
        if self._on_device is None:
            used = np.sort(np.concatenate(list(self.indices.values())))
            free, _ = torch.cuda.mem_get_info(device)
            if self.images[0].nbytes * len(used) >= GPU_SHARE * free:
                return None
            self._on_device = copy_used_images(self.images, self.targets, used, device)
        return self._on_device

    def _fetch_on_host(self, *, pin: bool) -> FetchFn:
        if self.images is not None:
            return index_select_batch(self.images, self.targets, pin=pin)
        return lambda indices: (
            torch.from_numpy(self.cache.read(indices.numpy(), self.load_size)),
            self.targets[indices],
        )

    def train_dataloader(self) -> ArrayLoader:
        """Return shuffled batches of train."""
        return self._loader("train")

    def val_dataloader(self) -> ArrayLoader:
        """Return batches of val, in order."""
        return self._loader("val")

    def test_dataloader(self) -> ArrayLoader:
        """Return batches of test, in order."""
        return self._loader("test")

    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        """Preprocess on the device: float32 [N, C, resolution, resolution] for the net."""
        images, targets = batch
        training = self.trainer is not None and self.trainer.training
        return self.preprocess(images, training=training), targets

    def metadata(self) -> dict[str, Any]:
        """Return the facts needed to use a trained network: classes, fingerprint, white."""
        deep = {"white": list(self.white)} if self.white != DEFAULT_WHITE else {}
        return {"classes": self.classes, "fingerprint": self.fingerprint, **deep}

    def state_dict(self) -> dict[str, Any]:
        """Return the classes and the fingerprint for a checkpoint."""
        return {"classes": self.classes, "fingerprint": self.fingerprint}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that the checkpoint was trained on the same data; nothing is loaded.

        Raises:
            ValueError: If the classes or the images differ.
        """
        for name, recorded in state_dict.items():
            if recorded != (present := getattr(self, name)):
                raise ValueError(
                    f"the checkpoint was trained on other data: its {name} was {recorded}, but now"
                    f" it is {present}; restore the images of data={self.name}, or start a new run"
                )
