"""Study what a choice does to a convolutional network."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["evaluate", "load_run", "load_sweep", "report", "train"]

try:
    __version__ = version("alexlab")
except PackageNotFoundError:  # run from a tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """Import the functions of alexlab.api when one is asked for: `import alexlab` is quick."""
    if name in __all__:
        return getattr(import_module("alexlab.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
