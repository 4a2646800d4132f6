"""What a net says of image files, each seen in several views (src/evaluation/crops.py)."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from src.data.cache import cores
from src.data.decode import MAX_BYTES, BrokenImage, to_rgb
from src.evaluation.crops import Crops

BATCH = 256  # views at least that go through the net at a time
AHEAD = 2  # images a thread that are decoded before they are asked for

Seen = tuple[Path, Tensor | BrokenImage]


def predicted(
    paths: Iterable[Path], crops: Crops, predict: Callable[[Tensor], Tensor]
) -> Iterator[Seen]:
    """Each path, in order, with the mean of the predictions of its views [K]; or why it is broken.

    Takes no more memory for a million images than for a thousand.

    Args:
        paths: Image files.
        crops: How often, and where, each is looked at.
        predict: Views uint8 [N, 3, R, R] -> probabilities or scores [N, K].
    """
    batch: list[Seen] = []
    views = 0
    for path, seen in _read(paths, crops):
        batch.append((path, seen))
        views += 0 if isinstance(seen, BrokenImage) else len(seen)
        if views >= BATCH:
            yield from _averaged(batch, predict)
            batch, views = [], 0
    yield from _averaged(batch, predict)


def predict_all(paths: Iterable[Path], crops: Crops, predict: Callable[[Tensor], Tensor]) -> Tensor:
    """The predictions [N, K] of N images, as in `predicted`.

    Raises:
        ValueError: One of them is broken.
    """
    found = []
    for path, prediction in predicted(paths, crops, predict):
        if isinstance(prediction, BrokenImage):
            raise ValueError(f"broken image {str(path)!r}: {prediction}")
        found.append(prediction)
    return torch.stack(found)


def _averaged(batch: list[Seen], predict: Callable[[Tensor], Tensor]) -> Iterator[Seen]:
    good = [seen for _, seen in batch if not isinstance(seen, BrokenImage)]
    if good:
        predictions = iter(torch.split(predict(torch.cat(good)).cpu(), list(map(len, good))))
    for path, seen in batch:
        yield path, seen if isinstance(seen, BrokenImage) else next(predictions).mean(0)


def _read(paths: Iterable[Path], crops: Crops) -> Iterator[Seen]:
    """Views of each image, read and cut in threads, a few images ahead."""

    def read(path: Path) -> Seen:
        try:
            if (size := path.stat().st_size) > MAX_BYTES:
                raise BrokenImage(f"a file of {size / 1e6:,.0f} MB")
            return path, crops.of(to_rgb(path.read_bytes())[0])
        except OSError as error:
            return path, BrokenImage(error.strerror or str(error))
        except BrokenImage as error:
            return path, error

    threads = cores()
    waiting: deque[Future[Seen]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for path in paths:
            waiting.append(pool.submit(read, path))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
