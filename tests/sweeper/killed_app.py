"""Run the toy app with a sweeper that kills itself once, at the point TOY_KILL."""

import os

from hydra_plugins.hydra_study_sweeper import _display, _scheduler, _storage, _trials
from tests.sweeper.toy_app import kill_at, main

calls = {}


def kill_before(owner, name, point):
    """Kill this process when `owner.name` is called, after TOY_KILL_AFTER other calls."""
    original = getattr(owner, name)

    def wrapped(*args, **kwargs):
        calls[point] = calls.get(point, 0) + 1
        if calls[point] > int(os.environ.get("TOY_KILL_AFTER", "0")):
            kill_at(point)
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def kill_in_append(point):
    """Kill this process in the middle of an append to the journal, or before its first byte."""
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


POINTS = {
    "add": (_trials.TrialStore, "_create"),
    "claimed": (_scheduler.Scheduler, "start_trial"),
    "launched": (_scheduler.Scheduler, "_wait"),
    "finish": (_trials.TrialStore, "finish"),
    "finished": (_display.ProgressReporter, "log_end"),
    "reclaim": (_trials.TrialStore, "add_attempt"),
}
if (point := os.environ.get("TOY_KILL")) in POINTS:
    kill_before(*POINTS[point], point)
elif point in ("append", "lock"):
    kill_in_append(point)

if __name__ == "__main__":
    main()
