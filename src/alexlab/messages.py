"""Messages beside the results: warnings and notices, through Python's `logging`, in plain lines.

Each module has a logger of its own name. `alexlab train` configures them with Hydra's job logging
(conf/hydra/job_logging/messages.yaml), the other verbs with `show`.
"""

import logging
import sys
from typing import TextIO


class Lines(logging.Formatter):
    """Writes a message as it is; before one that is more than a notice stands its level."""

    def format(self, record: logging.LogRecord) -> str:
        """Return `warning: TEXT`, or `TEXT`."""
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"


class Console(logging.StreamHandler[TextIO]):
    """Writes to what sys.stderr is at the moment: a run replaces it to keep a copy."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)  # the base class would set a stream

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The standard error of now."""
        return sys.stderr


def show() -> None:
    """Print the messages of this package, unless the program has configured its logging."""
    logger = logging.getLogger("alexlab")
    if not logger.hasHandlers():
        handler = Console()
        handler.setFormatter(Lines())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
