"""Load batches from an array of decoded images, without worker processes or a loop over images.

The order of a training epoch depends only on (seed, epoch), not on other uses of random generators.
The loader stores its position, so that Lightning continues with the next batch after a resume in
the middle of an epoch.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")
FetchFn = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Map indices [N] int64 to their images [N, 3, S, S] uint8 and targets [N]."""

AHEAD = 2  # number of items that each thread computes in advance
CHUNK = 1024  # number of images copied to a device at once


class ArrayLoader:
    """Iterate over batches of (images uint8 [N, 3, S, S], targets [N]) of one split.

    With several ranks, a training epoch has the same number of steps on each rank and uses no image
    twice; up to `world_size - 1` images are left out, other ones in each epoch. An evaluation uses
    each image exactly once, with the same number of batches on each rank. A last training batch
    with a single image is left out, since BatchNorm cannot use it.

    Args:
        fetch: Function that returns the images and targets of indices on `device`.
        indices: The images of this split.
        batch_size: Number of images per batch on each rank.
        shuffle: True for training.
        seed: Seed of the order of the training epochs.
        rank: Rank of this process.
        world_size: Number of processes.
        device: Device of the indices for `fetch`; the indices of an epoch are copied there once.
        prefetch: Whether a thread fetches the next batches during the current step.
    """

    def __init__(
        self,
        fetch: FetchFn,
        indices: NDArray[np.int64],
        *,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        prefetch: bool = False,
    ) -> None:
        if len(indices) < world_size:
            raise ValueError(f"{len(indices)} images cannot be shared by {world_size} devices")
        self.fetch, self.indices, self.shuffle = fetch, indices, shuffle
        self.batch_size, self.seed = batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.device, self.prefetch = torch.device(device), prefetch
        self.epoch = self.position = 0  # `position`: batches yielded in this epoch
        self._resume = False

    batch_sampler = None  # Lightning reads this attribute if there is a `sampler`

    @property
    def sampler(self) -> Self:
        """Return self: Lightning calls `loader.sampler.set_epoch` before each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        if epoch != self.epoch:
            self.epoch, self.position, self._resume = epoch, 0, False

    def __len__(self) -> int:
        """Return the number of batches per epoch on this rank."""
        if not self.shuffle:
            return math.ceil(math.ceil(len(self.indices) / self.world_size) / self.batch_size)
        whole, rest = divmod(len(self.indices) // self.world_size, self.batch_size)
        return whole + (rest > 0 and not (rest == 1 and whole > 0))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of this epoch; after a resume, those that are left."""
        # this code runs at the first next(), after Lightning has set the epoch
        first = self.position if self._resume else 0
        self._resume = False
        batches = self.batches()[first:]
        epoch = to_device(np.concatenate(batches), self.device)
        indices = torch.split(epoch, [len(batch) for batch in batches])  # views: no copy per step
        fetched = prefetch(self.fetch, indices) if self.prefetch else map(self.fetch, indices)
        for position, batch in enumerate(fetched, first + 1):
            self.position = position
            yield batch

    def batches(self) -> list[NDArray[np.int64]]:
        """Return the indices of each batch of this epoch on this rank."""
        if not self.shuffle:
            mine = np.array_split(self.indices, self.world_size)[self.rank]
            return np.array_split(mine, len(self))
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.indices)
        mine = order[self.rank :: self.world_size][: len(order) // self.world_size]
        size = self.batch_size
        return [mine[i * size : (i + 1) * size] for i in range(len(self))]

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and the number of its batches yielded so far."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue the saved epoch at the saved position, unless `set_epoch` sets another epoch."""
        self.epoch, self.position = state["epoch"], state["position"]
        self._resume = self.position < len(self)


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int = 1
) -> Iterator[Result]:
    """Yield `function` of each item in order; threads compute a few items in advance."""
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def to_device(array: NDArray[np.int64], device: torch.device) -> Tensor:
    """Copy an array to `device`; the copy to a GPU is asynchronous, from pinned memory."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def index_select_batch(images: Tensor, targets: Tensor, pin: bool = False) -> FetchFn:
    """Return a fetch function for images [M, 3, S, S] and targets [M]; `pin` pins its batches."""

    def fetch(indices: Tensor) -> tuple[Tensor, Tensor]:
        batch = images.new_empty(len(indices), *images.shape[1:], pin_memory=pin)
        return torch.index_select(images, 0, indices, out=batch), targets[indices]

    return fetch


def copy_used_images(
    images: Tensor, targets: Tensor, used: NDArray[np.int64], device: torch.device
) -> FetchFn:
    """Copy the images in use and their targets to `device`; return a fetch function for them.

    Args:
        images: All images of the data set, [M, 3, S, S].
        targets: Their targets [M].
        used: Indices of the images in use; the others are not copied.
        device: New device of the images, usually a GPU.

    Returns:
        A fetch function for indices on `device` among all M images.
    """
    if len(used) == len(images):
        return index_select_batch(images.to(device), targets.to(device))
    copies = images.new_empty(len(used), *images.shape[1:], device=device)
    for start in range(0, len(used), CHUNK):
        chunk = torch.from_numpy(used[start : start + CHUNK])
        copies[start : start + CHUNK].copy_(images[chunk])
    place = np.zeros(len(images), np.int64)  # of each image among the copies
    place[used] = np.arange(len(used))
    places = torch.from_numpy(place).to(device)
    fetch = index_select_batch(copies, targets[torch.from_numpy(used)].to(device))
    return lambda indices: fetch(places[indices])
