"""Decode every image once: an index of facts, and one memory-mapped array per size beside it.

`<cache_dir>/<name>-<key>/` holds `index.npz` and `images-<size>-<fit>.npy`, uint8
[M, 3, size, size] (zeros where a file is broken). The key comes from names, sizes and times of the
files, so that a second start reads no image; changed files get a new folder. A file is written
under a lock to a temporary name, synced, then renamed: a file with its final name is complete.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from alexlab.data.decode import BrokenImage, Facts, read_image, to_rgb, to_square
from alexlab.data.duplicates import find_duplicates
from alexlab.data.files import ImageFiles
from hydra_plugins.hydra_study_sweeper.run_folder import atomic_write

VERSION = 3  # raise it when the same files would give other pixels or facts
CHUNK = 256  # images in memory at once


@dataclass(frozen=True)
class Index:
    """The facts of each of M files.

    Attributes:
        files: Where they are.
        facts: Facts as arrays [M].
        duplicates: Number of the group of exact and near duplicates that each file belongs to,
            [M] int64; a broken file is a group of its own.
        broken: [M] bool.
    """

    files: ImageFiles
    facts: dict[str, NDArray[np.generic]]
    duplicates: NDArray[np.int64]
    broken: NDArray[np.bool_]

    def keys(self) -> list[str]:
        """Identify each file by its content's hash and its path, the same on every machine."""
        hashes = self.facts["sha1"].tolist()
        return [f"{sha1} {path}" for sha1, path in zip(hashes, self.files.paths, strict=True)]


class ImageCache:
    """The decoded images of one data set below `folder`."""

    def __init__(self, files: ImageFiles, name: str, *, folder: Path, fit: str) -> None:
        self.files, self.fit, self.name = files, fit, name
        names = "\0".join([str(VERSION), str(files.root.resolve()), *files.paths])
        key = hashlib.sha1(os.fsencode(names) + files.stats.tobytes(), usedforsecurity=False)
        self.folder = folder / f"{name}-{key.hexdigest()[:12]}"

    def index(self, size: int | None = None) -> Index:
        """Return the facts of all files; the first call reads all files, and decodes to `size`."""
        path = self.folder / "index.npz"
        if not path.exists():
            self._build(size)
        with np.load(path) as columns:
            facts = {name: columns[name] for name in Facts._fields}
            return Index(self.files, facts, columns["duplicates"], facts["error"] != "")

    def images(self, size: int) -> NDArray[np.uint8]:
        """Return [M, 3, size, size] uint8, memory-mapped (copy on write: the file stays as is)."""
        if not self._path(size).exists():
            self._build(size)
        array: NDArray[np.uint8] = np.load(self._path(size), mmap_mode="c")
        return array

    def read(self, indices: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """Decode these files now, without the cache: [N, 3, size, size].

        Raises:
            ValueError: A file is broken.
        """

        def decode(path: Path) -> NDArray[np.uint8]:
            try:
                return to_square(to_rgb(path.read_bytes())[0], size, self.fit)
            except BrokenImage as error:
                raise ValueError(f"broken image {str(path)!r}: {error}") from error

        with ThreadPoolExecutor(cores()) as pool:
            return np.stack(list(pool.map(decode, self.paths(indices))))

    def paths(self, indices: NDArray[np.int64]) -> list[Path]:
        """Return the paths of these files."""
        return [self.files.root / self.files.paths[i] for i in indices]

    def _path(self, size: int) -> Path:
        return self.folder / f"images-{size}-{self.fit}.npy"

    def _build(self, size: int | None) -> None:
        """Write the index if it is missing, and the array of `size` if one is asked for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            index = self.folder / "index.npz"
            if index.exists() and (size is None or self._path(size).exists()):
                return  # another process has written them in the meantime
            for temporary in self.folder.glob(".*.tmp"):  # of a process that was killed
                temporary.unlink()
            start = time.perf_counter()
            print(f"decoding the {len(self.files.paths):,} images of {self.name}, once", flush=True)
            facts = self._write_images(size) if size else [f for f, _ in self._read_all(None)]
            if not index.exists():
                with atomic_write(index) as file:
                    columns: dict[str, Any] = {
                        name: np.array(values, None if isinstance(values[0], str) else np.uint64)
                        for name, values in zip(
                            Facts._fields, zip(*facts, strict=True), strict=True
                        )
                    }
                    np.savez(file, duplicates=find_duplicates(facts), **columns)
            print(f"decoded in {time.perf_counter() - start:.1f} s", flush=True)

    def _locked(self) -> AbstractContextManager[object]:
        """Hold the folder's lock; the system releases it when the process exits."""
        lock = FileLock(self.folder / ".lock")
        try:
            return lock.acquire(blocking=False)
        except Timeout:
            print(f"waiting for another process that is decoding {self.name}", flush=True)
            return lock.acquire()

    def _write_images(self, size: int) -> list[Facts]:
        zeros = np.zeros((3, size, size), np.uint8)
        facts = []
        with atomic_write(self._path(size)) as file:
            shape = (len(self.files.paths), *zeros.shape)
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for fact, pixels in self._read_all(size):
                facts.append(fact)
                file.write((zeros if pixels is None else pixels).data)
        return facts

    def _read_all(self, size: int | None) -> Iterator[tuple[Facts, NDArray[np.uint8] | None]]:
        read = partial(read_image, size=size, fit=self.fit)
        with ThreadPoolExecutor(cores()) as pool:
            for first in range(0, len(self.files.paths), CHUNK):
                chunk = np.arange(first, min(first + CHUNK, len(self.files.paths)))
                yield from pool.map(read, self.paths(chunk))


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
