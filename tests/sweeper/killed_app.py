"""The toy app, whose sweeper kills itself at the point that TOY_KILL names, once."""

import os
import signal

from hydra_plugins.hydra_study_sweeper import _display, _scheduler, _storage, _trials
from tests.sweeper.toy_app import kill_at, main

calls = {}


def kill_before(owner, name, point):
    """Die as `owner.name` is called for the nth time (TOY_KILL_AFTER calls were let through)."""
    original = getattr(owner, name)

    def wrapped(*args, **kwargs):
        calls[point] = calls.get(point, 0) + 1
        if calls[point] > int(os.environ.get("TOY_KILL_AFTER", "0")):
            kill_at(point)
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def half_a_line(point):
    """Die in the middle of a journal's append, or with its lock held before a byte is written."""
    original = os.fsync

    def fsync(descriptor):
        calls[point] = calls.get(point, 0) + 1
        if os.environ.get("TOY_KILL") == point and calls[point] > 3:
            if point == "append":
                size = os.fstat(descriptor).st_size
                os.ftruncate(descriptor, size - 30)
            kill_at(point)
        return original(descriptor)

    _storage.os = type("os", (), {**vars(os), "fsync": staticmethod(fsync)})


for owner, name, point in [
    (_trials.Ledger, "_create", "fill"),
    (_scheduler.Starts, "begin", "claimed"),
    (_scheduler.Run, "_wait", "launched"),
    (_trials.Ledger, "finish", "tell"),
    (_display.Board, "ended", "told"),
    (_trials.Ledger, "again", "takeover"),
]:
    if os.environ.get("TOY_KILL") == point:
        kill_before(owner, name, point)
for point in ("append", "lock"):
    if os.environ.get("TOY_KILL") == point:
        half_a_line(point)
assert signal

if __name__ == "__main__":
    main()
