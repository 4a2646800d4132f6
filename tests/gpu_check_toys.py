"""Define checks with known behaviour, for tests of gpu-check's scheduler."""

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
    """Start a child process, then wait forever."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (context.work / "child").write_text(str(child.pid))
    child.wait()
    yield


def meets(context):
    """Wait until another check runs at the same time."""
    name = f"met.{os.getpid()}"
    (context.work / name).touch()
    end = time.monotonic() + 20
    while len(list(context.work.glob("met.*"))) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    yield Result("meets", len(list(context.work.glob("met.*"))) == 2, "two at a time")


def alone(context):
    """Record that this check is running, and report whether another one is."""
    others = list(Path(context.work).glob("alone.*"))
    mine = context.work / f"alone.{os.getpid()}"
    mine.touch()
    time.sleep(0.2)
    mine.unlink()
    yield Result("alone", not others, f"{len(others)} others")
