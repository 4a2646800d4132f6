"""Batches straight from an array of decoded images: no worker processes, no per-image Python.

The order of a training epoch is a function of (seed, epoch) alone: no other draw of random numbers
shifts it. The loader keeps its place, so that Lightning goes on with the next batch after a resume
in the middle of an epoch.
"""

import math
from collections.abc import Callable, Iterator
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FetchFn = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]
"""Rows [N] int64 -> their images [N, 3, S, S] uint8 and targets [N]."""


class ArrayLoader:
    """Iterates batches of (images uint8 [N, 3, S, S], targets [N]) of one split.

    Over several ranks a training epoch has the same number of steps on each and shows no image
    twice (up to `world_size - 1` sit out, others each time); an evaluation shows each image exactly
    once, in the same number of batches on each rank. A last training batch of a single image is
    left out, since BatchNorm cannot take it.

    Args:
        fetch: Gets the images and targets of given rows.
        rows: The rows of this split.
        batch_size: Images a batch, on each rank.
        shuffle: Whether this is training.
        seed: Of the order of a training epoch.
        rank: Of this process.
        world_size: The number of processes.
    """

    def __init__(
        self,
        fetch: FetchFn,
        rows: NDArray[np.int64],
        *,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if len(rows) < world_size:
            raise ValueError(f"{len(rows)} images cannot be shared by {world_size} devices")
        self.fetch, self.rows, self.batch_size, self.shuffle = fetch, rows, batch_size, shuffle
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = self.position = 0  # `position`: batches handed out in this epoch
        self._resume = False

    batch_sampler = None  # Lightning asks for it where there is a `sampler`

    @property
    def sampler(self) -> Self:
        """Itself: Lightning calls `loader.sampler.set_epoch` before each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is."""
        if epoch != self.epoch:
            self.epoch, self.position, self._resume = epoch, 0, False

    def __len__(self) -> int:
        """Batches in an epoch on this rank."""
        if not self.shuffle:
            return math.ceil(math.ceil(len(self.rows) / self.world_size) / self.batch_size)
        whole, rest = divmod(len(self.rows) // self.world_size, self.batch_size)
        return whole + (rest > 0 and not (rest == 1 and whole > 0))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of this epoch, from where it was left after a resume."""
        # a generator: nothing here runs before the first batch is asked for, when the epoch is set
        first = self.position if self._resume else 0
        self._resume = False
        for i, rows in enumerate(self.batches()):
            if i >= first:
                self.position = i + 1
                yield self.fetch(rows)

    def batches(self) -> list[NDArray[np.int64]]:
        """The rows of each batch of this epoch on this rank."""
        if not self.shuffle:
            return np.array_split(np.array_split(self.rows, self.world_size)[self.rank], len(self))
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.rows)
        mine = order[self.rank :: self.world_size][: len(order) // self.world_size]
        size = self.batch_size
        return [mine[i * size : (i + 1) * size] for i in range(len(self))]

    def state_dict(self) -> dict[str, int]:
        """Epoch, and batches of it that were handed out."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batch where the state was taken, if its epoch is what comes next."""
        self.epoch, self.position = state["epoch"], state["position"]
        self._resume = self.position < len(self)


def index_select_batch(images: Tensor, targets: Tensor, pin: bool = False) -> FetchFn:
    """Fetch function over images [M, 3, S, S] and targets [M] that lie on one device."""

    def fetch(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(rows).to(images.device)
        batch = images.new_empty(len(rows), *images.shape[1:], pin_memory=pin)
        return torch.index_select(images, 0, index, out=batch), targets[index]

    return fetch
