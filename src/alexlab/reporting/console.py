"""A console for tables."""

from rich.console import Console


def wide_console() -> Console:
    """Return a console that does not fold what goes to a file or a pipe, and prints text as it is.

    Names of folders and texts in files may look like rich's markup.
    """
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 200
    return console
