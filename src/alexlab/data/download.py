"""Download data sets, or import them from a folder or archive: `alexlab data fetch flower`.

flower and cifar10 are downloaded from their publishers, and their checksums are verified; an
interrupted download continues. The pokemon images have no permanent public address:
`alexlab data fetch pokemon FILE_OR_FOLDER` imports a copy.
"""

import bz2
import errno
import gzip
import hashlib
import http
import http.client
import lzma
import math
import os
import shutil
import stat
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from torchvision.datasets import CIFAR10

from alexlab.data.files import find_class_images, is_left_behind, walk
from alexlab.runs.folder import lock

MAX_ENTRIES = 80_000
MAX_BYTES = 4 * 2**30
MAX_RATIO = 100  # unpacked size divided by the archive's size
FREE_BYTES = 2**20  # this many bytes may be unpacked at any ratio
MAX_HEADER = 2**16  # bytes of one entry's headers; long names in a tar are part of them
MAX_DIRECTORY = 2**25  # bytes of a zip's list of entries; an entry has a few hundred
OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}


@dataclass(frozen=True)
class Entry:
    """Describe one archive member; `kind` is "file", "folder" or a refused kind, such as "link"."""

    name: str
    size: int
    kind: str
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip file into `folder`; nothing is written before all entries are checked.

    Raises:
        ValueError: If the file is not an archive or is damaged, or an entry is refused.
    """
    try:
        with _entries(archive) as entries:
            for entry in _checked(entries, archive):
                _write(entry, folder)
    except (
        *(tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error, lzma.LZMAError),
        *(NotImplementedError, UnicodeError),
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the local disk, not of the archive
        raise ValueError(
            f"{archive} is no tar or zip archive, or it is damaged: {error}"
        ) from error


def _checked(entries: Iterable[Entry], archive: Path) -> list[Entry]:
    """Return all entries; raise ValueError at the first refused entry, without reading the rest."""
    limit = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * archive.stat().st_size))
    checked, total = [], 0
    for entry in entries:
        checked.append(entry)
        total += entry.size
        path = PureWindowsPath(entry.name)  # Windows has the stricter rules
        if path.drive or path.root or ".." in path.parts:
            fault = f"has an entry that leaves its folder, {entry.name!r}"
        elif entry.kind not in ("file", "folder"):
            fault = f"has a {entry.kind}, {entry.name!r}"
        elif len(checked) > MAX_ENTRIES:
            fault = f"has more than {MAX_ENTRIES:,} entries"
        elif total > limit:
            most = f"at most {MAX_RATIO} times its size, at most {MAX_BYTES:,}"
            fault = f"would unpack to more than {limit:,} bytes ({most})"
        else:
            continue
        raise ValueError(f"{archive} {fault}: refused")
    return checked


def _write(entry: Entry, folder: Path) -> None:
    path = folder.joinpath(*PurePosixPath(entry.name).parts)
    if entry.kind == "folder":
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = entry.open()  # yields no more bytes than its header states
    assert content is not None
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)


@contextmanager
def _entries(archive: Path) -> Iterator[Iterable[Entry]]:
    if zipfile.is_zipfile(archive):
        _check_directory(archive)
        with zipfile.ZipFile(archive) as zipped:
            yield (_zip_entry(zipped, info) for info in zipped.infolist())
    else:
        with archive.open("rb") as start:
            first = start.read(6)
        opener = next((o for magic, o in OPENERS.items() if first.startswith(magic)), open)
        with (
            opener(archive, "rb") as content,
            tarfile.open(fileobj=_BoundedHeaders(content), mode="r:") as tar,  # type: ignore[call-overload]
        ):
            bounded = tar.fileobj
            yield (_tar_entry(tar, member) for member in _members(tar, bounded))


class _BoundedHeaders:
    """Limit a tar file to `MAX_HEADER` bytes per entry while tarfile reads the headers.

    tarfile reads a long name or the map of a sparse file as a whole: a small compressed archive
    could fill the memory.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.left = file, float(MAX_HEADER)
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read like `file.read`; raise tarfile.ReadError beyond the limit."""
        self.left -= size
        if size < 0 or self.left < 0:
            raise tarfile.ReadError(f"an entry's headers have more than {MAX_HEADER:,} bytes")
        return self.file.read(size)


def _members(tar: tarfile.TarFile, bounded: Any) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        bounded.left = float(MAX_HEADER)
        yield member
    bounded.left = math.inf  # all headers are read; now tarfile reads contents


def _check_directory(archive: Path) -> None:
    """Raise ValueError if zipfile would read a list of entries above `MAX_DIRECTORY` bytes."""
    with archive.open("rb") as file:
        file.seek(max(0, archive.stat().st_size - 2**16 - 22))  # the end record and a comment
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    size = int.from_bytes(end[at + 12 : at + 16], "little")
    if at >= 0 and size > MAX_DIRECTORY:  # zip64 has 0xFFFFFFFF here: refused too
        raise ValueError(f"{archive} lists more than {MAX_ENTRIES:,} entries: refused")


def _zip_entry(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    mode = info.external_attr >> 16
    kind = "folder" if info.is_dir() else "link" if stat.S_ISLNK(mode) else "file"
    if info.flag_bits & 1:
        kind = "file with a password"
    return Entry(info.filename, info.file_size, kind, lambda: zipped.open(info))


def _tar_entry(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    plain = member.isreg() and not member.issparse()
    link = member.issym() or member.islnk()
    kind = "file" if plain else "folder" if member.isdir() else "link" if link else "special file"
    return Entry(member.name, member.size, kind, lambda: tar.extractfile(member))


@dataclass(frozen=True)
class Source:
    """Describe a data set: images per class (0 if unknown), size in bytes, "algorithm:hex"."""

    folder: str
    counts: dict[str, int]
    url: str = ""
    size: int = 0
    checksum: str = ""


SOURCES = {
    "flower": Source(
        "flower_photos",
        {"daisy": 633, "dandelion": 898, "roses": 641, "sunflowers": 699, "tulips": 799},
        "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
        228_813_984,  # size and checksum as TensorFlow Datasets has them (tf_flowers)
        "sha256:4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    ),
    "cifar10": Source("cifar10", {}, CIFAR10.url, 170_498_071, f"md5:{CIFAR10.tgz_md5}"),
    "pokemon": Source(
        "pokemon", dict.fromkeys(("bulbasaur", "charmander", "mewtwo", "pikachu", "squirtle"), 0)
    ),
}


def fetch(name: str, given: Path | None, data_dir: Path) -> Path:
    """Put a complete data set below `data_dir`, or nothing; return its folder.

    An interrupted download continues at the next call.

    Args:
        name: One of `SOURCES`.
        given: Archive or folder to import; None downloads the data set.
        data_dir: The folder that DATA_DIR names.

    Raises:
        ValueError: If the target exists, or the data is not the expected data.
        FileNotFoundError: If `given` does not exist, or the data set has no download address.
    """
    source = SOURCES[name]
    target = data_dir / source.folder
    if target.exists():
        raise ValueError(f"{target} exists already; remove it to fetch it again")
    if given is None and not source.url:
        raise FileNotFoundError(
            f"the {name} images (pyimagesearch's Pokedex) have no lasting public address; import"
            f" an archive, or a\nfolder with {'/ '.join(source.counts)}/:"
            f" alexlab data fetch {name} FILE_OR_FOLDER"
        )
    if given is not None and not given.exists():
        raise FileNotFoundError(f"{given} does not exist")
    data_dir.mkdir(parents=True, exist_ok=True)
    with _temporary_folder(data_dir, name) as temporary:
        inside = temporary / "unpacked"
        if given is not None and given.is_dir():
            _copy(given, inside)
        else:
            unpack(given or download(source, _part(data_dir, name)), inside)
        root = _without_wrapping(inside)
        for path in list(root.iterdir()):
            if path.is_dir() and is_left_behind(path.name):
                shutil.rmtree(path)
            elif (known := path.name.lower()) in source.counts and path.name != known:
                path.rename(root / known)
        if not (root / CIFAR10.base_folder).is_dir():  # Cifar10Data checks those files later
            _check_counts(root, source.counts)
        root.rename(target)
    shutil.rmtree(_part(data_dir, name), ignore_errors=True)
    return target


def _part(data_dir: Path, name: str) -> Path:
    """Return the folder of an unfinished download, or of one that is not unpacked yet."""
    return data_dir / f".{name}.download"


@contextmanager
def _temporary_folder(data_dir: Path, name: str) -> Iterator[Path]:
    """Yield a temporary folder, removed at the end; remove those of killed processes first."""
    for old in data_dir.glob(f".{name}-*"):
        if (held := lock(old)) is not None:  # no process uses it
            held.close()
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=f".{name}-") as temporary:
        held = lock(Path(temporary))
        try:
            yield Path(temporary)
        finally:
            if held is not None:
                held.close()


def _copy(given: Path, inside: Path) -> None:
    """Copy the visible files of a folder; follow links, but not in a loop.

    Raises:
        ValueError: If there are more files or bytes than an archive may have.
    """
    copied = size = 0
    for path, found in _visible_files(given):
        copied, size = copied + 1, size + found.st_size
        if copied > MAX_ENTRIES or size > MAX_BYTES:
            raise ValueError(
                f"{given} has more than {MAX_ENTRIES:,} files, or {MAX_BYTES:,} bytes: refused"
            )
        (inside / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(given / path, inside / path)


def _visible_files(given: Path) -> Iterator[tuple[str, os.stat_result]]:
    for top in sorted(given.iterdir()):
        if top.name.startswith(".") or is_left_behind(top.name):
            continue
        if top.is_file():
            yield top.name, top.stat()
        for path, found in walk(given, top.name) if top.is_dir() else ():
            if found is not None and "/." not in path:
                yield path, found


def download(source: Source, folder: Path) -> Path:
    """Download `source.url` into `folder`, with a progress bar on a terminal; verify its checksum.

    A partial file of an earlier call is completed by an HTTP Range request; if the server does not
    support that, the download starts again.

    Raises:
        ValueError: If the download fails, another process downloads it, or the checksum differs.
    """
    folder.mkdir(exist_ok=True)
    if (held := lock(folder)) is None:
        raise ValueError(f"{source.url} is being downloaded by another process; wait for it")
    path = folder / "part"
    with held:
        received = path.stat().st_size if path.exists() else 0
        goes_on = f", from {received / 1e6:.0f} MB on" if received else ""
        print(f"downloading {source.url} ({source.size / 1e6:.0f} MB{goes_on})", flush=True)
        console = Console(stderr=True)
        columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task("", total=source.size, completed=received)
            _complete(source, path, lambda size: progress.update(bar, completed=size))
        algorithm, expected = source.checksum.split(":")
        with path.open("rb") as file:
            if hashlib.file_digest(file, algorithm).hexdigest() != expected:
                shutil.rmtree(folder)
                raise ValueError(
                    f"{source.url} has another {algorithm} than expected; nothing was kept"
                )
    return path


def _complete(source: Source, path: Path, on_size: Callable[[int], object]) -> None:
    """Complete the file at `path`; retry after an error as long as each try adds bytes."""
    size = path.stat().st_size if path.exists() else 0
    while size < source.size:
        before, reason = size, "the connection ended early"
        try:
            for now in _receive(source.url, path, size):
                size = now
                on_size(size)
                if size > source.size:
                    path.unlink()
                    raise ValueError(f"{source.url} is larger than {source.size:,} bytes: refused")
        except (OSError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            reason = str(getattr(error, "reason", error))
        if size <= before:
            kept = f" {size:,} of {source.size:,} bytes are kept: the same command goes on, or"
            raise ValueError(
                f"cannot download {source.url}: {reason};{kept if size else ''} download the file"
                " by other means and give its path after the name"
            )


def _receive(url: str, path: Path, start: int) -> Iterator[int]:
    """Append the file's bytes from position `start` to `path`; yield its size after each block."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        is_part = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        size = start if is_part else 0
        with path.open("ab" if is_part else "wb") as file:
            while block := answer.read1(2**20):
                file.write(block)
                size += len(block)
                yield size


def _without_wrapping(folder: Path) -> Path:
    """Return the innermost of nested folders that each contain only one folder."""
    while True:
        visible = [p for p in folder.iterdir() if p.name[0] not in "._"]
        if len(visible) != 1 or not visible[0].is_dir() or visible[0].name == CIFAR10.base_folder:
            return folder
        folder = visible[0]


def _check_counts(root: Path, expected: dict[str, int]) -> None:
    files = find_class_images(root)
    counts = Counter(files.classes[int(target)] for target in files.targets)
    if missing := set(expected) - set(counts):
        raise ValueError(
            f"no images of {', '.join(sorted(missing))}; found the classes {', '.join(counts)}"
        )
    for name, count in counts.items():
        if expected.get(name) and count != expected[name]:
            print(f"note: {count} images of {name}, not {expected[name]}")
