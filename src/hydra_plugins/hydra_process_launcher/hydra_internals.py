"""Read private parts of Hydra, each in one function, for both plugins."""

from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher


def value_of(result: JobReturn) -> Any:
    """Return what a job's task returned, or the error that it raised.

    The public property `return_value` would print and raise the error.
    """
    return result._return_value


def keeps_traceback(result: JobReturn) -> bool:
    """Return whether this Hydra sends a traceback along with an error; 1.3 drops it."""
    return hasattr(result, "_remote_traceback")


def is_basic_launcher(launcher: Launcher) -> bool:
    """Return whether `launcher` is Hydra's own, which runs jobs in the calling thread."""
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    return isinstance(launcher, BasicLauncher)
