"""A console for tables."""

from rich.console import Console


def wide_console() -> Console:
    """Return a console that does not fold what goes to a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=200)
