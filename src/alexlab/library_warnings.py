"""Hide library warnings that need no action, and print the others in one line."""

import logging
import os
import warnings
from typing import Any

# expected by design: no worker processes, sums over ranks, frozen layers in eval mode, ...
IGNORED_WARNINGS = (
    ".*does not have many workers.*",
    ".*LeafSpec.*",
    ".*sync_dist=True.*",
    ".*in eval mode.*",
    ".*requested to overfit.*",  # alexlab.data.datamodule chooses the batches
)


def filter_warnings() -> None:
    """Ignore `IGNORED_WARNINGS`, and print every other warning in one line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    warnings.formatwarning = _in_one_line  # type: ignore[assignment]


def _in_one_line(message: Warning | str, *_: Any) -> str:
    return f"warning: {message}\n"
