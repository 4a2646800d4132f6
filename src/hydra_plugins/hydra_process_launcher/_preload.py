"""Search for Hydra's plugins once: the fork server imports this file last, before any job."""

import gc
import signal

from hydra.core.plugins import Plugins

import hydra_plugins.hydra_process_launcher._job  # noqa: F401

Plugins.instance()
# a garbage collection in a job would write to these objects, and so copy their memory pages
gc.freeze()
signal.signal(signal.SIGINT, signal.default_int_handler)  # see `_uninterrupted`
