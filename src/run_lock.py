"""The lock of a run's folder, while the run is under way.

It is a `flock`: the system drops it when the process dies, however it dies, and forked children
close their copy of it.
"""

import os
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows has no flock: a run there is not protected from a second writer
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


def lock(folder: Path) -> IO[str] | None:
    """Lock `folder` for this process; None when another process holds it. Close to release."""
    file = (folder / LOCK).open("a")
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        os.register_at_fork(after_in_child=file.close)  # a flock would outlive us in our children
    return file


def is_locked(folder: Path) -> bool:
    """Whether a living process trains in `folder`."""
    if not (folder / LOCK).exists():
        return False
    held = lock(folder)
    if held is not None:
        held.close()
    return held is None
