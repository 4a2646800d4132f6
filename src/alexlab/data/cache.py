"""Decode every image once; store an index of facts and one memory-mapped array per image size.

`<cache_dir>/<name>-<key>/` holds `index.npz` and `images-<size>-<fit>.npy`, uint8
[M, 3, size, size] (zeros where a file is broken). `.crc.npy` has a checksum of each image. The
key is a hash of the names, sizes and times of the files: a second start reads no image, and changed
files get a new folder. Files with a different inode or change time are hashed again, and the cache
is rebuilt if the content of one of them has changed. Each cache file is written under a lock
to a temporary name, synced and renamed: a file with its final name is complete. Later damage is
detected when the file is opened, and the file is rebuilt.
"""

import hashlib
import logging
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from alexlab.data.decode import (
    DEFAULT_WHITE,
    MAX_BYTES,
    BrokenImage,
    Facts,
    White,
    read_image,
    to_rgb,
    to_square,
    white_of,
)
from alexlab.data.duplicates import find_duplicates
from alexlab.data.files import ImageFiles
from alexlab.performance.devices import cores
from hydra_plugins.hydra_study_sweeper.run_folder import atomic_write

log = logging.getLogger(__name__)

VERSION = 4  # increase it when the same files would give other pixels or facts
CHUNK = 256  # images in memory at once
CHECKED_BYTES = 2**30  # of a larger array only evenly spaced images are checked
TYPES: dict[str, Any] = {
    **dict.fromkeys(("phash", "width", "height"), np.uint64),
    **dict.fromkeys(("deviation", "low", "high"), np.float64),
}


@dataclass(frozen=True)
class Index:
    """Hold the facts of M files.

    Attributes:
        files: The M files.
        facts: {name of a field of `Facts`: array [M]}.
        duplicates: [M] int64, the number of each file's group of exact and near duplicates;
            a broken file has a group of its own.
        broken: [M] bool.
        white: The values that become 255 in grey images of more than 8 bits.
    """

    files: ImageFiles
    facts: dict[str, NDArray[np.generic]]
    duplicates: NDArray[np.int64]
    broken: NDArray[np.bool_]
    white: White = DEFAULT_WHITE

    def keys(self) -> list[str]:
        """Return the content's hash and the path of each file, the same on every machine."""
        hashes = self.facts["sha1"].tolist()
        return [f"{sha1} {path}" for sha1, path in zip(hashes, self.files.paths, strict=True)]


class ImageCache:
    """Store the decoded images of one data set below `folder`; `fit` is "crop" or "squash"."""

    def __init__(self, files: ImageFiles, name: str, *, folder: Path, fit: str) -> None:
        self.files, self.fit, self.name = files, fit, name
        names = "\0".join([str(VERSION), str(files.root.resolve()), *files.paths])
        key = hashlib.sha1(os.fsencode(names) + files.stats.tobytes(), usedforsecurity=False)
        self.folder = folder / f"{name}-{key.hexdigest()[:12]}"

    def index(self, size: int | None = None) -> Index:
        """Return the facts of all files; the first call reads all files and decodes to `size`."""
        index, _ = self._load_index()
        if index is None:
            self._build(size)
            index, problem = self._load_index()
            assert index is not None, problem
        return index

    def images(self, size: int) -> NDArray[np.uint8]:
        """Return [M, 3, size, size] uint8, memory-mapped (writes to it do not change the file)."""
        array, _ = self._load_images(size)
        if array is None:
            self._build(size)
            array, problem = self._load_images(size)
            assert array is not None, problem
        return array

    def read(self, indices: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """Decode these files without the cache to [N, 3, size, size] uint8.

        Raises:
            ValueError: If a file is broken.
        """
        white = self.index().white

        def decode(path: Path) -> NDArray[np.uint8]:
            try:
                return to_square(to_rgb(path.read_bytes(), white).image, size, self.fit)
            except BrokenImage as error:
                raise ValueError(f"broken image {str(path)!r}: {error}") from error

        with ThreadPoolExecutor(cores()) as pool:
            return np.stack(list(pool.map(decode, self.paths(indices))))

    def paths(self, indices: NDArray[np.int64]) -> list[Path]:
        """Return the paths of these files, including the root folder."""
        return [self.files.root / self.files.paths[i] for i in indices]

    def _path(self, size: int) -> Path:
        return self.folder / f"images-{size}-{self.fit}.npy"

    def _load_index(self) -> tuple[Index | None, str]:
        """Return (index, ""), or (None, reason) if it is damaged or outdated ("" if missing)."""
        path, number = self.folder / "index.npz", len(self.files.paths)
        try:
            with np.load(path) as file:
                columns = {name: file[name] for name in (*Facts._fields, "duplicates", "identity")}
            if any(column.shape[-1] != number for column in columns.values()):
                raise ValueError("another number of files")
        except FileNotFoundError:
            return None, ""
        except OSError:
            raise
        except Exception as error:  # zipfile and numpy raise many types for damaged bytes
            return None, f"{path} is damaged ({error})"
        facts = {name: columns[name] for name in Facts._fields}
        moved = np.flatnonzero((columns["identity"] != self.files.identity).any(0))
        with ThreadPoolExecutor(cores()) as pool:
            for i, sha1 in zip(moved, pool.map(_sha1, self.paths(moved)), strict=True):
                if sha1 != facts["sha1"][i]:
                    return None, f"{self.files.paths[i]!r} has changed, with equal size and time"
        if len(moved):
            with suppress(OSError), atomic_write(path) as file:
                np.savez(file, **{**columns, "identity": self.files.identity})
        white = white_of(*(facts[name].tolist() for name in ("mode", "low", "high")))
        return Index(self.files, facts, columns["duplicates"], facts["error"] != "", white), ""

    def _load_images(self, size: int) -> tuple[NDArray[np.uint8] | None, str]:
        """Return (mapped array of `size`, ""), or (None, reason) if damaged ("" if missing)."""
        path, shape = self._path(size), (len(self.files.paths), 3, size, size)
        try:
            array: NDArray[np.uint8] = np.load(path, mmap_mode="c")
            if array.shape != shape or array.dtype != np.uint8:
                raise ValueError(f"{array.dtype} {array.shape}")
            checksums = np.load(_checksums(path))
            with path.open("rb") as file:  # reading the mapping would raise this process's memory
                for i in range(0, len(array), -(-array.nbytes // CHECKED_BYTES)):
                    file.seek(array.offset + i * array[0].nbytes)  # type: ignore[attr-defined]
                    if zlib.crc32(file.read(array[0].nbytes)) != checksums[i]:
                        raise ValueError(f"pixels of {self.files.paths[i]!r}")
        except FileNotFoundError:
            return None, ""
        except OSError:
            raise
        except Exception as error:
            return None, f"{path} is damaged ({error})"
        return array, ""

    def _build(self, size: int | None) -> None:
        """Write missing or damaged files, under the lock: the index, and the array of `size`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            path = self.folder / "index.npz"
            index, problem = self._load_index()
            if index is None:  # then nothing else in the folder is valid
                for old in [*self.folder.glob("images-*"), *self.folder.glob("split-*")]:
                    old.unlink()
            array = None
            if index is not None and size is not None:
                array, problem = self._load_images(size)
            if index is not None and (size is None or array is not None):
                return  # another process has written them in the meantime
            if problem:
                log.warning(f"cache: {problem}: rebuilding it")
            for temporary in self.folder.glob(".*.tmp"):  # left by a killed process
                temporary.unlink()
            start = time.perf_counter()
            log.info(f"decoding the {len(self.files.paths):,} images of {self.name}, once")
            white = DEFAULT_WHITE if index is None else index.white
            facts = (
                self._write_images(size, white, hashes=index is None)
                if size
                else self._read_facts(white)
            )
            if index is None:
                columns: dict[str, Any] = {
                    name: np.array(values, TYPES.get(name))
                    for name, values in zip(Facts._fields, zip(*facts, strict=True), strict=True)
                }
                duplicates, identity = find_duplicates(facts), self.files.identity
                with atomic_write(path) as file:
                    np.savez(file, duplicates=duplicates, identity=identity, **columns)
            log.info(f"decoded in {time.perf_counter() - start:.1f} s")

    def _locked(self) -> AbstractContextManager[object]:
        """Hold the folder's lock; the system releases it when the process exits."""
        lock = FileLock(self.folder / ".lock")
        try:
            return lock.acquire(blocking=False)
        except Timeout:
            log.info(f"waiting for another process that is decoding {self.name}")
            return lock.acquire()

    def _write_images(self, size: int, white: White, *, hashes: bool) -> list[Facts]:
        """Write the array of `size` and its checksums; return the facts, see `read_image`."""
        shape = (len(self.files.paths), 3, size, size)
        facts: list[Facts] = []
        checksums = np.zeros(len(self.files.paths), np.uint32)
        path = self._path(size)

        def write(file: IO[bytes], i: int, pixels: NDArray[np.uint8] | None) -> None:
            pixels = np.zeros(shape[1:], np.uint8) if pixels is None else pixels
            checksums[i] = zlib.crc32(pixels.data)
            file.write(pixels.data)

        with atomic_write(path) as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            start = file.tell()
            every = range(shape[0])
            for i, (fact, pixels) in enumerate(self._read_all(every, size, white, hashes=hashes)):
                facts.append(fact)
                write(file, i, pixels)
            again = self._deep(facts, white)
            for i, (fact, pixels) in zip(
                again, self._read_all(again, size, _white_of(facts)), strict=True
            ):
                facts[i] = fact
                file.seek(start + i * 3 * size**2)
                write(file, i, pixels)
            with atomic_write(_checksums(path)) as checks:  # before the array gets its final name
                np.save(checks, checksums)
        return facts

    def _read_facts(self, white: White) -> list[Facts]:
        every = range(len(self.files.paths))
        facts = [fact for fact, _ in self._read_all(every, None, white)]
        again = self._deep(facts, white)
        for i, (fact, _) in zip(again, self._read_all(again, None, _white_of(facts)), strict=True):
            facts[i] = fact
        return facts

    @staticmethod
    def _deep(facts: Sequence[Facts], white: White) -> list[int]:
        """List the images of more than 8 bits if `white` is not the white of all files."""
        if _white_of(facts) == white:
            return []
        return [i for i, fact in enumerate(facts) if fact.mode[:1] in ("I", "F")]

    def _read_all(
        self, rows: Sequence[int], size: int | None, white: White, *, hashes: bool = True
    ) -> Iterator[tuple[Facts, NDArray[np.uint8] | None]]:
        read = partial(read_image, size=size, fit=self.fit, white=white, hashes=hashes)
        with ThreadPoolExecutor(cores()) as pool:
            for first in range(0, len(rows), CHUNK):
                chunk = np.array(rows[first : first + CHUNK], np.int64)
                yield from pool.map(read, self.paths(chunk))


def _white_of(facts: Sequence[Facts]) -> White:
    return white_of(*zip(*((fact.mode, fact.low, fact.high) for fact in facts), strict=True))


def _checksums(array: Path) -> Path:
    return array.with_suffix(".crc.npy")


def _sha1(path: Path) -> str:
    """Return the hash that `read_image` computes; "" for a file of more than MAX_BYTES."""
    if path.stat().st_size > MAX_BYTES:
        return ""
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
