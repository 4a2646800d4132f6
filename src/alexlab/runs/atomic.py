"""Files that appear whole or not at all: written beside, synced, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def atomic_write(path: Path, *, keep: Path | None = None) -> Iterator[IO[bytes]]:
    """A file that gets the name `path` when all of it is on the disk, and not before.

    Args:
        path: Its name; a file that has it is replaced.
        keep: A name for that older file, which then stays.

    Raises:
        OSError: The disk is full, read-only, or broken; the error names `path`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
        if os.name == "posix":  # the rename, too, has to survive a power cut
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)
