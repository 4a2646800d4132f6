"""Study what a choice does to a convolutional network."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("alexlab")
except PackageNotFoundError:  # run from a tree that was never installed
    __version__ = "0+unknown"
