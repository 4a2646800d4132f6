"""A copy of what is printed, for train.log."""

import os
import re
from typing import Any, TextIO

COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Tee:
    """A text stream that also writes to a log, without the lines that a progress bar redraws."""

    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self.stream, self.log = stream, log

    def write(self, text: str) -> int:
        """Write to both; text that redraws a line is for the eye only."""
        if "\r" not in text and not self.log.closed:
            self.log.write(COLOUR.sub("", text))
            self.log.flush()
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:  # noqa: D105
        return getattr(self.stream, name)


def writes_to(stream: TextIO, log: TextIO) -> bool:
    """Whether `stream` goes to the log already, as in a run that a sweep has launched."""
    try:
        return os.path.sameopenfile(stream.fileno(), log.fileno())
    except (OSError, ValueError, AttributeError):
        return False
