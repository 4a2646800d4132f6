"""Run the project's tests: those for a GPU, and the ordinary ones on the CPU."""

import re
from collections.abc import Iterator

from benchmarks.gpu_check.context import Context, Result
from benchmarks.gpu_check.training import Done, command

QUIET = ["-q", "-p", "no:cacheprovider"]


def report(name: str, done: Done) -> Iterator[Result]:
    """Report the last line of pytest, and up to 15 failed tests."""
    closing = re.findall(r"^=*\s*((?:\d+ \w+(?:, )?)+ in [\d.]+s.*?)=*$", done.output, re.MULTILINE)
    ok = done.code in (0, 5) and bool(closing)
    yield Result(name, ok, closing[-1].strip() if closing else done.end)
    for number, test in enumerate(
        re.findall(r"^(?:FAILED|ERROR) (\S+)", done.output, re.MULTILINE)
    ):
        if number < 15:
            yield Result(f"{name}.{number}", False, test)


def on_gpu(context: Context) -> Iterator[Result]:
    """Run the tests with the mark gpu; without a GPU they are skipped."""
    done = command("pytest", "tests/gpu", "-m", "gpu", "-rs", *QUIET, timeout=145)
    yield from report("pytest.gpu", done)


def ordinary(context: Context) -> Iterator[Result]:
    """Run the quick tests on the CPU, with the packages of this machine."""
    hidden = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = command("pytest", "-n", "8", *QUIET, timeout=195, environment=hidden)
    yield from report("pytest.quick", done)
