"""Handle the signals that ask a run to stop, from its start to its metrics.json."""

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

from alexlab.runs.folder import Stopped

# sent by Ctrl-C; by `kill`, `timeout` and schedulers; by SLURM before its time limit
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
]


class StopSignals:
    """Handle SIGINT, SIGTERM and SIGUSR1 inside a `with` block; blocks may be nested.

    Attributes:
        received: Number of the first signal, or None. A second signal exits at once.
        at_once: Whether a signal raises `Stopped` immediately: before the training and in its
            test, when nothing needs to be saved. Otherwise the training checks `received` when it
            can save.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.at_once = True
        self._depth = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:  # noqa: D105
        self._depth += 1
        if self._depth == 1:
            self._previous = {number: signal.getsignal(number) for number in SIGNALS}
            self.install()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:  # noqa: D105
        self._depth -= 1
        if self._depth == 0 and _in_main_thread():
            for number, handler in self._previous.items():
                signal.signal(number, handler)
        if kind is not None and issubclass(kind, Exception) and self.at_once and self.received:
            raise Stopped(self.received) from None  # a library turned `Stopped` into this error

    def install(self) -> None:
        """Install the handlers; call this again after a library has installed its own."""
        for number in SIGNALS if self._depth and _in_main_thread() else []:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.stop(number)

    def stop(self, number: int) -> None:
        """Act as if the signal `number` had been received."""
        self.received = number
        if self.at_once:
            raise Stopped(number)

    def set_at_once(self, at_once: bool) -> None:
        """Set `at_once`; if it is True and a signal was received, raise `Stopped` now."""
        self.at_once = at_once
        if at_once and self.received is not None:
            raise Stopped(self.received)


def _in_main_thread() -> bool:
    """Return whether this thread may install handlers; a notebook may train in another thread."""
    return threading.current_thread() is threading.main_thread()
