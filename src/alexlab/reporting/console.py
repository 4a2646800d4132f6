"""What commands print: a console for tables, and paths that a terminal opens."""

import os
import sys
from pathlib import Path

from rich.console import Console

from alexlab.errors import printable


def wide_console() -> Console:
    """Return a console that does not fold what goes to a file or a pipe, and prints text as it is.

    Names of folders and texts in files may look like rich's markup.
    """
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 200
    return console


def path_link(path: Path) -> str:
    r"""Return `path` as text for `print`; on a terminal it is a link that opens the file.

    The link is an escape sequence, OSC 8, which terminals without links ignore. In files and pipes
    the text is the path alone.
    """
    shown = printable(path)
    if not sys.stdout.isatty() or os.environ.get("TERM") in (None, "dumb"):
        return shown
    return f"\x1b]8;;{path.absolute().as_uri()}\x1b\\{shown}\x1b]8;;\x1b\\"
