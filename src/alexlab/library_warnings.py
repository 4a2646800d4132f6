"""Keeps what libraries hint at out of the way of what a run says."""

import logging
import os
import warnings
from typing import Any

# each is answered by how we do it: no worker processes, sums over ranks, frozen layers in eval mode
IGNORED_WARNINGS = (
    ".*does not have many workers.*",
    ".*LeafSpec.*",
    ".*sync_dist=True.*",
    ".*in eval mode.*",
)


def filter_warnings() -> None:
    """Leave out hints that need no answer; show the other warnings in one line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    warnings.formatwarning = _in_one_line  # type: ignore[assignment]


def _in_one_line(message: Warning | str, *_: Any) -> str:
    return f"warning: {message}\n"
