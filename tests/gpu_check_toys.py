"""Checks that behave in known ways, for the scheduler of gpu-check."""

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu_check.context import Result


def good(context):
    print("said by good")
    yield Result("good.first", True, "1")
    yield Result("good.second", True, "2", {"number": 2})


def wrong(context):
    yield Result("wrong", False, "3 (expected 4)")


def raises(context):
    yield Result("raises.before", True, "fine")
    raise ValueError("two\nlines")


def exits(context):
    os._exit(7)
    yield


def nothing(context):
    yield from ()


def hangs(context):
    """Start a process in a session of its own, then wait without end."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (context.work / "child").write_text(str(child.pid))
    child.wait()
    yield


def meets(context):
    """Wait until another check is there, too."""
    name = f"met.{os.getpid()}"
    (context.work / name).touch()
    end = time.monotonic() + 20
    while len(list(context.work.glob("met.*"))) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    yield Result("meets", len(list(context.work.glob("met.*"))) == 2, "two at a time")


def alone(context):
    """Note that this check is running; no other one may be."""
    others = list(Path(context.work).glob("alone.*"))
    mine = context.work / f"alone.{os.getpid()}"
    mine.touch()
    time.sleep(0.2)
    mine.unlink()
    yield Result("alone", not others, f"{len(others)} others")
