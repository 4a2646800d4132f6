"""A checkpoint's checksum, which is the comment of the zip archive that torch writes.

So a checkpoint is one file, and torch and zip tools read it as ever.
"""

import hashlib
import re
import struct
from pathlib import Path
from typing import IO, Any

COMMENT = re.compile(rb"sha256:([0-9a-f]{64})")
COMMENT_SIZE, END = 71, b"PK\x05\x06"  # a zip archive ends with 22 bytes, and its comment


class Damaged(ValueError):
    """A checkpoint that is cut short or corrupted."""


class Hashed:
    """A binary file that hashes what is written to it.

    torch's writer, in C++, does not survive an exception: an error waits here until it is done.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha256 = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Take bytes, and put them into the file while it takes them."""
        if self.error is None:
            self.sha256.update(data)
            try:
                self.file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Nothing: the file is flushed by who has opened it."""

    def seal(self) -> None:
        """Write the checksum of all that comes before it, with the comment's length still at 0."""
        if self.error is not None:
            raise self.error
        self.file.seek(-2, 2)
        comment = f"sha256:{self.sha256.hexdigest()}".encode()
        self.file.write(struct.pack("<H", len(comment)) + comment)


def checksum(path: Path) -> str | None:
    """The checksum that `path` carries; None if it has none, as when another tool wrote it."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - COMMENT_SIZE - 22))
        tail = file.read()
    if not tail.startswith(END):
        return None
    found = COMMENT.fullmatch(tail[22:])
    return found[1].decode() if found else "unreadable"


def check(path: Path) -> None:
    """Compare a checkpoint with the checksum that it carries.

    Raises:
        Damaged: They differ.
    """
    expected = checksum(path)
    if expected is None:
        return
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        left = path.stat().st_size - COMMENT_SIZE - 2
        while left and (chunk := file.read(min(left, 1 << 20))):
            sha256.update(chunk)
            left -= len(chunk)
    sha256.update(bytes(2))
    if sha256.hexdigest() != expected:
        raise Damaged(f"{path} is damaged: its checksum is not that of its content")
