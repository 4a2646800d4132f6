"""Imported by the warm parent: Hydra looks for its plugins once, not in every job."""

from hydra.core.plugins import Plugins

Plugins.instance()
