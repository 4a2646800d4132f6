"""Unpacks archives from strangers: nothing lands outside, nothing swells without bound.

Limits fit image sets: photographs hardly compress, and CIFAR-10 has 60,000 files.
"""

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

MAX_ENTRIES = 80_000
MAX_BYTES = 4 * 2**30
MAX_RATIO = 100  # unpacked size over the archive's own
FREE_BYTES = 2**20  # so much may be unpacked at any ratio


@dataclass(frozen=True)
class Entry:
    """One member of an archive; `open` gives its content. Kind is "file", "folder" or another."""

    name: str
    size: int
    kind: str
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip file into `folder`; nothing is written before all entries are judged.

    Raises:
        ValueError: Not an archive, damaged, or something in it is refused; the message says what.
    """
    try:
        with _entries(archive) as entries:
            for entry in _judged(entries, archive):
                _write(entry, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of our own disk, not of the archive
        raise ValueError(
            f"{archive} is no tar or zip archive, or it is damaged: {error}"
        ) from error


def _judged(entries: Iterable[Entry], archive: Path) -> list[Entry]:
    """All entries, or ValueError at the first that is refused: a bomb is not read to its end."""
    limit = min(MAX_BYTES, max(FREE_BYTES, MAX_RATIO * archive.stat().st_size))
    judged, total = [], 0
    for entry in entries:
        judged.append(entry)
        total += entry.size
        path = PureWindowsPath(entry.name)  # its rules are the stricter ones
        if path.drive or path.root or ".." in path.parts:
            fault = f"has an entry that leaves its folder, {entry.name!r}"
        elif entry.kind not in ("file", "folder"):
            fault = f"has a {entry.kind}, {entry.name!r}"
        elif len(judged) > MAX_ENTRIES:
            fault = f"has more than {MAX_ENTRIES:,} entries"
        elif total > limit:
            most = f"at most {MAX_RATIO} times its size, at most {MAX_BYTES:,}"
            fault = f"would unpack to more than {limit:,} bytes ({most})"
        else:
            continue
        raise ValueError(f"{archive} {fault}: refused")
    return judged


def _write(entry: Entry, folder: Path) -> None:
    path = folder.joinpath(*PurePosixPath(entry.name).parts)
    if entry.kind == "folder":
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = entry.open()  # gives no more bytes than its header says
    assert content is not None
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)


@contextmanager
def _entries(archive: Path) -> Iterator[Iterable[Entry]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield (_zip_entry(zipped, info) for info in zipped.infolist())
    else:
        with tarfile.open(archive) as tar:
            yield (_tar_entry(tar, member) for member in tar)


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
