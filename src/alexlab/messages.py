"""Print the log messages of alexlab, such as warnings, as plain lines on standard error.

`alexlab train` configures `logging` through Hydra (conf/hydra/job_logging/messages.yaml), the other
verbs through `show`.
"""

import logging
import sys
from typing import TextIO


class Lines(logging.Formatter):
    """Format a log record as its message, with its level in front if that is above INFO."""

    def format(self, record: logging.LogRecord) -> str:
        """Return `TEXT`, or `warning: TEXT`."""
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"


class Console(logging.StreamHandler[TextIO]):
    """Write to the present sys.stderr, which a run replaces to copy it to train.log."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)  # the base class would set a stream

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Return the present sys.stderr."""
        return sys.stderr


def show() -> None:
    """Print the log messages of this package, unless logging is configured already."""
    logger = logging.getLogger("alexlab")
    if not logger.hasHandlers():
        handler = Console()
        handler.setFormatter(Lines())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
