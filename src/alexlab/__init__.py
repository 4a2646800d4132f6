"""Study what a choice does to a convolutional network."""

from importlib import import_module
from typing import Any

__all__ = ["evaluate", "load_run", "load_sweep", "report", "train"]

__version__: str


def __getattr__(name: str) -> Any:
    """Import the functions of alexlab.api when one is asked for: `import alexlab` is quick."""
    if name == "__version__":
        return _version()
    if name in __all__:
        return getattr(import_module("alexlab.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("alexlab")
    except PackageNotFoundError:  # run from a tree that was never installed
        return "0+unknown"
