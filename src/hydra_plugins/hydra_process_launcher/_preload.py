"""Imported by the fork server: Hydra looks for its plugins once, and not in every job."""

import gc
import signal

from hydra.core.plugins import Plugins

import hydra_plugins.hydra_process_launcher._job  # noqa: F401

Plugins.instance()
gc.freeze()  # a later collection in a job would write to these objects, and so copy their pages
signal.signal(signal.SIGINT, signal.default_int_handler)  # see `_uninterrupted`
