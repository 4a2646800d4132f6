"""Errors for people: what was wrong, where, what is allowed; in one or two lines."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from hydra.errors import HydraException, InstantiationException

from src.choices import near

TRACES = "CONVLAB_TRACES"  # what the user said of HYDRA_FULL_ERROR, before src.train sets it
# said as they are; the name of any other type is part of what it says
PLAIN = (ValueError, FileNotFoundError, RuntimeError, FloatingPointError, HydraException)


def in_short(error: BaseException, keys: Iterable[str] = ()) -> str:
    """One or two lines for `error`. `keys` are the config's keys, for near matches."""
    where = ""  # the part of the config
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        if found := re.search(r"full_key: (\S+)", str(error)):
            where = f"{found[1]}: "
        error = error.__cause__
    text = str(error)
    if found := re.search(r"Could not override '([^']+)'", text):
        return f"there is no setting '{found[1]}'{near(found[1], keys)}"
    if found := re.search(r"Could not find '([^'/]+(?:/[^'/]+)*)/([^'/]+)'", text):
        options = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE)
        return f"{found[1]}={found[2]} is unknown{near(found[2], options)}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    lines = [line.strip() for line in text.splitlines() if line.strip()][:2]
    prefix = "" if isinstance(error, PLAIN) else f"{where}{type(error).__name__}: "
    return prefix + "\n".join(lines or [type(error).__name__])


@contextmanager
def said_in_short(keys: Callable[[], Iterable[str]] = list) -> Iterator[None]:
    """For command lines: an error is printed in short, exit code 1; with a traceback if asked for.

    (HYDRA_FULL_ERROR=1 asks for it.) `keys` gives the config's keys, for near matches.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get(TRACES, os.environ.get("HYDRA_FULL_ERROR")) == "1":
            raise
        print(f"error: {in_short(error, keys())}", file=sys.stderr)
        sys.exit(1)
