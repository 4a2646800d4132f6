"""Start sweeps of the toy app like a user, kill them, and check the files that they leave."""

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

from optuna.trial import TrialState

from hydra_plugins.hydra_study_sweeper._storage import open_storage

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
APP = "tests.sweeper.toy_app"
GRID = ["lr=0.1,0.2", "seed=0,1,2", "epochs=3", "epoch_s=0.1", "sweep.n_jobs=2", "sweep.name=s"]


def start(folder, *arguments, app=APP, output=None, **environment):
    """Start a sweep in its own session; all its processes have `mark` in their environment."""
    mark = uuid.uuid4().hex
    env = {**os.environ, "PYTHONPATH": PATH, "HYDRA_FULL_ERROR": "1", "SWEEP_MARK": mark}
    with (output or folder / "output.txt").open("a") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", app, "-m", *arguments],
            cwd=folder,
            env={**env, **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.mark = mark
    return process


def sweep(folder, *arguments, timeout=120, output=None, **environment):
    """Run a sweep to its end, and return its exit code and output."""
    before = len(printed(folder, output))
    process = start(folder, *arguments, output=output, **environment)
    code = process.wait(timeout)
    return code, printed(folder, output)[before:]


def printed(folder, path=None):
    path = path or folder / "output.txt"
    return path.read_text() if path.exists() else ""


def marked(mark):
    """Return the ids of a sweep's running processes, including its own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def kill(process, how):
    """Kill only the sweeper, its process group, or all processes that it has started."""
    if how == "all":
        for pid in [process.pid, *marked(process.mark)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    elif how == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def wait_until(condition, timeout=60):
    """Wait until a condition is true; another process has to make it true."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(condition)
        time.sleep(0.01)


def rows(folder, name="s"):
    with (folder / "multirun" / name / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def states(folder, name="s"):
    return Counter(row["state"] for row in rows(folder, name))


def metrics(folder, name="s"):
    """Return {folder name: content of metrics.json} of all runs."""
    paths = sorted((folder / "multirun" / name).glob("*/metrics.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in paths}


def assert_done_once(folder, trials, kills=0, epochs=3, name="s"):
    """Assert that each trial finished once, in its own folder, and the journal is readable."""
    assert states(folder, name) == {"finished": trials}
    home = folder / "multirun" / name
    storage = open_storage(str(home / "study.journal"))
    stored = storage.get_all_trials(storage.get_study_id_from_name(name))
    done = Counter(
        t.user_attrs["params"]["identity"] for t in stored if t.state is TrialState.COMPLETE
    )
    assert len(done) == trials
    assert set(done.values()) == {1}
    assert not any(t.state is TrialState.RUNNING for t in stored)
    folders = [path.parent for path in home.glob("*/metrics.json")]
    assert len(folders) == trials
    assert not list(home.glob("*/.*.tmp"))
    repeated = 0
    for run in folders:
        steps = [int(line) for line in (run / "steps.txt").read_text().split()]
        assert sorted(set(steps)) == list(range(epochs))
        assert steps == sorted(steps), "a run restarted before its checkpoint"
        repeated += len(steps) - epochs
    assert repeated <= 2 * kills, "an epoch ran again without a kill"


def seeded_moment(seed, low, high):
    return random.Random(seed).uniform(low, high)
