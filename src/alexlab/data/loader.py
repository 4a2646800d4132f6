"""Load batches from an array of decoded images: no worker processes, no per-image Python.

The order of a training epoch is a function of (seed, epoch) alone: other draws of random numbers do
not change it. The loader stores its position, so that Lightning continues with the next batch after
a resume in the middle of an epoch.
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
"""Indices [N] int64 -> their images [N, 3, S, S] uint8 and targets [N]."""

AHEAD = 2  # items that each thread computes in advance
CHUNK = 1024  # images copied to a device at a time


class ArrayLoader:
    """Iterate over batches of (images uint8 [N, 3, S, S], targets [N]) of one split.

    With several ranks a training epoch has the same number of steps on each and uses no image twice
    (up to `world_size - 1` images are left out, others in each epoch); an evaluation uses each
    image exactly once, in the same number of batches on each rank. A last training batch of a
    single image is left out, since BatchNorm cannot take it.

    Args:
        fetch: Returns the images and targets of given indices, which are on `device`.
        indices: The images of this split.
        batch_size: Images per batch, on each rank.
        shuffle: Whether this is training.
        seed: Of the order of a training epoch.
        rank: Of this process.
        world_size: The number of processes.
        device: Where `fetch` needs its indices; those of an epoch are copied there once.
        prefetch: Whether a thread fetches the next batches while the current one is used.
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

    batch_sampler = None  # Lightning reads it where there is a `sampler`

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
        # a generator: this code runs when the first batch is requested, and the epoch is set then
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
        """Return the epoch, and how many of its batches were yielded."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batch at which the state was saved, if its epoch is the next one."""
        self.epoch, self.position = state["epoch"], state["position"]
        self._resume = self.position < len(self)


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int = 1
) -> Iterator[Result]:
    """Yield `function` of each item, in order, computed in threads a few items in advance."""
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
    """Make a fetch function over images [M, 3, S, S] and targets [M] on one device."""

    def fetch(indices: Tensor) -> tuple[Tensor, Tensor]:
        batch = images.new_empty(len(indices), *images.shape[1:], pin_memory=pin)
        return torch.index_select(images, 0, indices, out=batch), targets[indices]

    return fetch


def copy_used_images(
    images: Tensor, targets: Tensor, used: NDArray[np.int64], device: torch.device
) -> FetchFn:
    """Copy the images in use and their targets to `device`; fetch batches from there.

    Args:
        images: All images of the data set, [M, 3, S, S].
        targets: Their targets [M].
        used: The indices of those in use; the others are not copied.
        device: The images' new device, usually a GPU.

    Returns:
        A fetch function; its indices count all M images, and are on `device`.
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
