"""Decodes every image once: an index of facts and one memory-mapped array a size, beside it.

`<cache_dir>/<name>-<key>/` holds `index.json` and `images-<size>-<fit>.npy`, uint8
[M, 3, size, size] (zeros where a file is broken). The key comes from names, sizes and times, so
that a warm start reads no image; changed files get a new folder. A file is written under a lock to
a temporary name, synced, then renamed: what has its final name is whole.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from src.data.decode import Facts, read_image
from src.data.files import ImageFiles
from src.data.twins import find_twins
from src.run_folder import sync_folder, write_atomically

log = logging.getLogger(__name__)
VERSION = 1  # raise it when the same files would give other pixels or facts
CHUNK = 256  # images in memory at once


@dataclass(frozen=True)
class Index:
    """What is known of each file of `ImageFiles`, in the same order.

    `twins` numbers the groups of exact and near duplicates [M] int64; broken files are alone.
    """

    facts: list[Facts]
    twins: NDArray[np.int64]

    @cached_property
    def broken(self) -> NDArray[np.bool_]:
        """[M], true where a file cannot be decoded."""
        return np.array([bool(fact.error) for fact in self.facts])

    def keys(self, files: ImageFiles) -> list[str]:
        """What each file is, on every machine: its content's hash and its path."""
        return [f"{fact.sha1} {path}" for fact, path in zip(self.facts, files.paths, strict=True)]


class ImageCache:
    """The decoded images of one data set below `folder`."""

    def __init__(self, files: ImageFiles, name: str, *, folder: Path, fit: str) -> None:
        self.files, self.fit, self.name = files, fit, name
        key = json.dumps([VERSION, str(files.root.resolve()), files.paths, files.stats])
        digest = hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()
        self.folder = folder / f"{name}-{digest[:12]}"

    def index(self, size: int | None = None) -> Index:
        """The facts of all files; decodes to `size` on the way when they are not known yet."""
        path = self.folder / "index.json"
        if not path.exists():
            self._build(size)
        columns = json.loads(path.read_text("utf-8"))
        twins = np.array(columns.pop("twins"), dtype=np.int64)
        return Index([Facts(*row) for row in zip(*columns.values(), strict=True)], twins)

    def images(self, size: int) -> NDArray[np.uint8]:
        """[M, 3, size, size] uint8, memory-mapped (copy on write: the file never changes)."""
        if not self._path(size).exists():
            self._build(size)
        array: NDArray[np.uint8] = np.load(self._path(size), mmap_mode="c")
        return array

    def read(self, rows: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """[N, 3, size, size] decoded now, past the cache."""
        decode = partial(read_image, size=size, fit=self.fit)
        paths = [self.files.root / self.files.paths[row] for row in rows]
        with ThreadPoolExecutor(_cores()) as pool:
            return np.stack([p for _, p in pool.map(decode, paths) if p is not None])

    def _path(self, size: int) -> Path:
        return self.folder / f"images-{size}-{self.fit}.npy"

    def _build(self, size: int | None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.info("waiting for another process that is decoding %s", self.name)
            lock.acquire()
        try:
            if size is None or not self._path(size).exists():
                self._decode(size)
        finally:
            lock.release()

    def _decode(self, size: int | None) -> None:
        """Write the array of `size`, if one is asked for, and the index, if it is missing."""
        start, facts = time.perf_counter(), []
        log.info("decoding the %d images of %s, once", len(self.files.paths), self.name)
        if size is None:
            facts = [fact for fact, _ in self._read_all(None)]
        else:
            temporary = self._path(size).with_suffix(".tmp")  # we hold the lock: ours alone
            with temporary.open("wb") as file:
                _write_header(file, (len(self.files.paths), 3, size, size))
                nothing = np.zeros((3, size, size), np.uint8)
                for fact, pixels in self._read_all(size):
                    facts.append(fact)
                    file.write((nothing if pixels is None else pixels).data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path(size))
            sync_folder(self.folder)
        self._write_index(facts)
        log.info("decoded %s in %.1f s", self.name, time.perf_counter() - start)

    def _read_all(self, size: int | None) -> Iterator[tuple[Facts, NDArray[np.uint8] | None]]:
        paths = [self.files.root / path for path in self.files.paths]
        read = partial(read_image, size=size, fit=self.fit)
        with ThreadPoolExecutor(_cores()) as pool:
            for first in range(0, len(paths), CHUNK):
                yield from pool.map(read, paths[first : first + CHUNK])

    def _write_index(self, facts: list[Facts]) -> None:
        if (self.folder / "index.json").exists():
            return
        columns = dict(zip(Facts._fields, map(list, zip(*facts, strict=True)), strict=True))
        columns["twins"] = find_twins(facts).tolist()
        write_atomically(self.folder / "index.json", json.dumps(columns))


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
