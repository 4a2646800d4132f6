"""Print tables, and paths that a terminal can open."""

import os
import sys
from pathlib import Path

from rich.console import Console

from alexlab.errors import printable


def wide_console() -> Console:
    """Return a console without rich's markup; in a file or a pipe a line has 200 columns.

    Names of folders and texts in files may look like markup.
    """
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 200
    return console


def path_link(path: Path) -> str:
    r"""Return `path` as text for `print`; on a terminal the text is a link that opens the file.

    The link is the escape sequence OSC 8, which terminals without links ignore.
    """
    shown = printable(path)
    if not sys.stdout.isatty() or os.environ.get("TERM") in (None, "dumb"):
        return shown
    return f"\x1b]8;;{path.absolute().as_uri()}\x1b\\{shown}\x1b]8;;\x1b\\"
