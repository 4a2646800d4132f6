"""Share trials through a database: sweepers in separate folders, as on several machines."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from optuna.trial import TrialState

from hydra_plugins.hydra_study_sweeper._storage import open_storage
from tests.sweeper.sweeping import kill, printed, start, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def postgres():
    """The URL of a PostgreSQL server of this test."""
    pytest.importorskip("psycopg2")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("needs Debian's package postgresql")
    home = Path(tempfile.mkdtemp(prefix="postgres-"))
    user = []
    if os.getuid() == 0:  # the server refuses to be root
        shutil.chown(home, "postgres")
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    tool = [*user, str(found[-1].parent / "initdb")]
    subprocess.run([*tool, "-D", str(home / "data"), "-A", "trust", "-U", "sweep"], check=True)
    server = subprocess.Popen(
        [
            *user,
            str(found[-1].parent / "postgres"),
            *("-D", str(home / "data"), "-k", str(home), "-c", "listen_addresses="),
        ]
    )
    url = f"postgresql+psycopg2://sweep@/postgres?host={home}"
    wait_until(lambda: (home / ".s.PGSQL.5432").exists())
    yield url
    server.send_signal(signal.SIGINT)  # at once, although clients are connected
    server.wait(30)
    shutil.rmtree(home)


@pytest.fixture
def grpc(tmp_path):
    """The URL of a gRPC proxy in front of a journal."""
    code = (
        "import optuna, sys; from hydra_plugins.hydra_study_sweeper._storage import open_storage;"
        "optuna.storages.run_grpc_proxy_server("
        f"open_storage({str(tmp_path / 'proxied.journal')!r}), host='localhost', port=13917)"
    )
    server = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "."})
    wait_until(lambda: accepts_connections(13917))
    yield "grpc://localhost:13917"
    server.terminate()
    server.wait(30)


def accepts_connections(port):
    try:
        socket.create_connection(("localhost", port), timeout=1).close()
    except OSError:
        return False
    return True


def completed(url):
    study = open_storage(url)
    trials = study.get_all_trials(study.get_study_id_from_name("s"))
    assert not any(t.state is TrialState.RUNNING for t in trials)
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    return Counter(t.user_attrs["params"]["values"]["seed"] for t in complete)


@pytest.mark.parametrize("kind", ["postgres", "grpc"])
def test_machines_share_a_sweep_and_one_is_killed(tmp_path, request, kind):
    url = request.getfixturevalue(kind)
    command = ["seed=range(0,12)", "sweep.name=s", "sweep.n_jobs=2", "epochs=3", "epoch_s=0.1"]
    command += [f"sweep.storage='{url}'", "sweep.pruner=none"]
    folders = [tmp_path / name for name in ("here", "there")]
    for folder in folders:
        folder.mkdir()
    first, second = (start(folder, *command) for folder in folders)
    wait_until(lambda: len(list(folders[0].glob("multirun/s/*/metrics.json"))) > 1)
    kill(first, "all")
    assert second.wait(120) == 0, printed(folders[1])
    assert completed(url) == {str(seed): 1 for seed in range(12)}
    shares = [len(list(folder.glob("multirun/s/*/metrics.json"))) for folder in folders]
    assert min(shares) > 1
    print(f"{kind}: {shares} runs each")


def test_pruning_through_a_database(tmp_path, postgres):
    command = [
        "seed=range(0,8)",
        "model=small,wide",
        "sweep.name=s",
        "sweep.pruner=median",
        "epochs=4",
    ]
    process = start(tmp_path, *command, f"sweep.storage='{postgres}'")
    assert process.wait(200) == 0, printed(tmp_path)
    study = open_storage(postgres)
    trials = study.get_all_trials(study.get_study_id_from_name("s"))
    states = Counter(t.state for t in trials)
    assert states[TrialState.COMPLETE] + states[TrialState.PRUNED] == 16
    assert states[TrialState.PRUNED] > 0
