"""Imported by the warm parent: Hydra looks for its plugins once, not in every job."""

import gc

from hydra.core.plugins import Plugins

Plugins.instance()
gc.freeze()  # what is here is for good; looking at it again would copy its pages into every job
