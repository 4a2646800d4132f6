"""The run folder's promises, kept against real processes."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from alexlab.runs.folder import (
    Pruned,
    RunFolder,
    Stopped,
    is_locked,
    lock,
    read_metrics,
    write_atomically,
)

HOLD = """
import os, sys, time
from pathlib import Path
from alexlab.runs.folder import lock
held = lock(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    print(os.getpid(), flush=True)  # the fork is over for it, not only for its parent
    sys.stdin.read()      # outlives its parent, and must not keep the lock
    os._exit(0)
sys.stdin.read()
"""


def test_sigkill_drops_the_lock_even_when_a_child_lives_on(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        child = int(process.stdout.readline())
        assert is_locked(tmp_path)
        assert lock(tmp_path) is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.kill(child, 0)  # it is alive
        assert not is_locked(tmp_path)


def test_asking_does_not_take_the_lock(tmp_path):
    held = lock(tmp_path)
    assert is_locked(tmp_path)
    held.close()
    assert not is_locked(tmp_path)
    assert lock(tmp_path) is not None


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    def disk_is_full(descriptor):
        raise OSError(28, "No space left on device")

    path = tmp_path / "metrics.json"
    write_atomically(path, "old")
    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_that_is_no_utf_8_is_written_with_escapes(tmp_path):
    """A name of a file may be any bytes: Python shows the byte FF as the surrogate DCFF."""
    write_atomically(tmp_path / "error.txt", "no image \udcff.png")
    assert (tmp_path / "error.txt").read_bytes() == rb"no image \udcff.png"


@pytest.mark.parametrize(
    ("error", "status"), [(Stopped(15), "stopped"), (Pruned(), "pruned"), (None, "finished")]
)
def test_how_a_run_ended_is_its_status(tmp_path, error, status):
    def run():
        with RunFolder(tmp_path / "run", keep=True) as folder:
            folder.record["objective"] = 0.5
            if error:
                raise error

    if isinstance(error, Stopped):
        with pytest.raises(Stopped):
            run()
    else:
        run()
    expected = {"status": status, "error": None, "objective": 0.5}
    assert json.loads((tmp_path / "run/metrics.json").read_text()) == expected


def test_a_failure_is_one_line_in_the_metrics_and_a_traceback_in_the_log(tmp_path):
    with pytest.raises(ValueError, match="bad"), RunFolder(tmp_path, keep=True):
        raise ValueError("bad\nvalue")
    assert read_metrics(tmp_path) == {"status": "failed", "error": "ValueError: bad value"}
    assert "Traceback" in (tmp_path / "train.log").read_text()


def test_a_run_that_never_started_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="bad"), RunFolder(tmp_path / "run", keep=False):
        raise ValueError("bad")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_takes_one_run_at_a_time(tmp_path):
    with RunFolder(tmp_path, keep=True), pytest.raises(RuntimeError, match="another process"):
        RunFolder(tmp_path, keep=True).__enter__()


def test_the_log_has_what_was_printed_without_redrawn_lines_and_colours(tmp_path, capsys):
    with RunFolder(tmp_path, keep=True):
        print("\x1b[1mbold\x1b[0m text")
        print("12%\r", end="")
    assert (tmp_path / "train.log").read_text() == "bold text\n"
    assert capsys.readouterr().out == "\x1b[1mbold\x1b[0m text\n12%\r"


def test_metrics_json_appears_whole_or_not_at_all(tmp_path):
    """SIGKILL in the middle of the write, at the rename."""
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from alexlab.runs.folder import write_json_atomically
        Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write_json_atomically(Path(sys.argv[1]) / "metrics.json", {"status": "finished"})
    """)
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert read_metrics(tmp_path) is None


def test_a_run_that_cannot_go_on_is_left_as_it_was(tmp_path):
    with RunFolder(tmp_path, keep=True) as folder:
        folder.record["objective"] = 0.5
        (tmp_path / "config.yaml").write_text("act: relu")
        print("an epoch")
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="no data"), RunFolder(tmp_path, keep=False):
        raise ValueError("no data")
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before


def test_only_its_own_unfinished_files_go(tmp_path):
    """Below it may be a cache that another process fills at this moment."""
    others = [tmp_path / ".cache/x/.images.1.tmp", tmp_path / "run/checkpoints/.last.ckpt.1.tmp"]
    own = [tmp_path / ".metrics.json.1.tmp", tmp_path / "checkpoints/.last.ckpt.1.tmp"]
    for path in (*others, *own):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    with RunFolder(tmp_path, keep=True):
        pass
    assert [path.exists() for path in (*others, *own)] == [True, True, False, False]


def test_a_resumed_run_has_no_metrics_until_it_ends(tmp_path):
    with RunFolder(tmp_path, keep=True) as folder:
        folder.record["objective"] = 0.5
    with RunFolder(tmp_path, keep=False) as folder:
        assert read_metrics(tmp_path)["objective"] == 0.5  # as it was, until it starts
        folder.start()
        assert read_metrics(tmp_path) is None
    assert read_metrics(tmp_path) == {"status": "finished", "error": None}
