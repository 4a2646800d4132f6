"""What is printed with: a console, and how times are said."""

from rich.console import Console


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def wide_console() -> Console:
    """A console that does not fold what goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=200)
