"""How a command ends: Ctrl-C at any moment, and a reader that has gone, as after `| head -1`."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from alexlab.__main__ import main
from alexlab.errors import user_errors
from alexlab.runs.folder import read_metrics
from tests.tiny import in_child, without_notices

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
ALEXLAB = [sys.executable, "-m", "alexlab"]


def unread(function):
    """Call `function` in a process whose output nobody reads; return its exit code."""

    def piped():
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        function()

    return in_child(piped)


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "train --help",
        "explain model=alexnet",
        "sweeps list",
        "train --help --config-dir nowhere",
        "completion bash",
    ],
)
def test_a_verb_whose_output_nobody_reads_ends_quietly(capfd, monkeypatch, words):
    monkeypatch.setattr(sys, "argv", ["alexlab", *words.split()])
    # rich, which prints the tables of explain and sweeps, exits with 1 by itself
    assert unread(main) in ((1, 141) if words.startswith(("explain", "sweeps")) else (141,))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(130)])
def test_an_interruption_that_a_library_turns_into_an_error_stays_one(stop, capfd):
    def interrupted():
        with user_errors():
            try:
                raise stop
            except BaseException:
                raise AttributeError("an import was interrupted")  # noqa: B904

    assert in_child(interrupted) == 130
    assert capfd.readouterr().err == ""


def test_an_interruption_that_a_library_has_lost_stays_one(capfd):
    """Seen: Ctrl-C within an import, then "maximum recursion depth exceeded"."""

    def interrupted():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with user_errors():
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            raise RecursionError("maximum recursion depth exceeded")

    assert in_child(interrupted) == 130
    assert capfd.readouterr().err == ""


def test_an_exit_code_of_a_verb_is_kept_if_its_output_is_read():
    def fails():
        with user_errors():
            sys.exit(3)

    assert in_child(fails) == 3


@pytest.mark.parametrize("function", [print, sys.exit])
def test_what_is_buffered_is_noticed_at_the_end(function, capfd):
    """Python would complain as it exits: `BrokenPipeError`, exit code 120."""

    def short():
        with user_errors():
            print("one line")
            function()

    assert unread(short) == 141
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_head_ends_a_training_that_can_be_resumed(tmp_path, hit):
    words = ["train", "data.resolution=32", "trainer.max_epochs=5000", "hydra.run.dir=run"]
    with subprocess.Popen(
        [*ALEXLAB, *words, "data.num_images=100"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while "epoch" not in process.stdout.readline():
            pass
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode == 141
    assert without_notices(told) == ""
    assert read_metrics(tmp_path / "run")["status"] == "stopped"
    hit("a reader that has gone after one line")


def heed_ctrl_c():
    """Take SIGINT as a terminal's command does: a job in the background of a shell ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["train", "explain model=alexnet", "report nowhere"])
@pytest.mark.parametrize("seconds", [0.3, 0.6, 1.0, 1.5, 2.0, 3.0, 4.5])
def test_ctrl_c_at_any_moment_prints_no_traceback(tmp_path, words, seconds, hit):
    command = [*ALEXLAB, *words.split()]
    command += ["trainer.max_epochs=5000"] if words == "train" else []
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heed_ctrl_c,
    ) as process:
        time.sleep(seconds)  # the moment is what is tested
        process.send_signal(signal.SIGINT)
        try:
            told, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    # torch's C++ cannot be interrupted while it is imported: rarely it ends by abort()
    interrupted = (130, -signal.SIGINT, -signal.SIGABRT)
    assert process.returncode in (*interrupted, 0, 1)
    assert "Traceback" not in told, told
    if words == "train":
        assert process.returncode in interrupted
    left = [path for path in tmp_path.rglob("*") if path.is_file() and ".cache" not in path.parts]
    assert not left or any(path.name == "config.yaml" for path in left)
    hit(f"Ctrl-C of {words} after {seconds} s")
