"""Measure scale with processes that train nothing: 10,000 trials, 100 workers on one storage.

`python -m benchmarks.scale URL --workers 100 --trials 1000` adds the trials of a sweep to a
storage, and forks workers that claim and finish them as sweepers do. The output is JSON.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.process import PYTHON, run, run_measured
from benchmarks.table import Options, Row, UnavailableError


def grid(trials: int, options: Options) -> Mapping[str, float]:
    """Return the seconds and the memory of a sweep of trials that train nothing.

    The milliseconds of a trial do not include the start: the time of a sweep of one trial.
    """
    count = 20 if options.quick else trials
    command = [PYTHON, "-m", "tests.sweeper.toy_app", "-m", "hydra/launcher=nothing"]
    with tempfile.TemporaryDirectory() as folder:
        start, _ = run([*command, "seed=range(0,1)", "sweep.name=one"], Path(folder))
        command += [f"seed=range(0,{count})", "sweep.name=s"]
        whole, peak = run_measured(command, Path(folder))
        again, _ = run(command, Path(folder))
    return {
        "s in all": whole,
        "ms of a trial": 1000 * (whole - start) / count,
        "s of the finished sweep": again,
        "MB at most": peak,
    }


@contextmanager
def postgres() -> Iterator[str]:
    """Start a PostgreSQL server; yield its URL.

    Raises:
        UnavailableError: PostgreSQL is not installed.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise UnavailableError("not installed: Debian's package postgresql")
    home, user = Path(tempfile.mkdtemp(prefix="postgres-")), []
    if os.getuid() == 0:  # the server refuses to run as root
        shutil.chown(home, "postgres")
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    initdb = [*user, str(found[-1]), "-D", str(home / "data"), "-A", "trust", "-U", "sweep"]
    subprocess.run(initdb, check=True, **quiet)
    options = ["-k", str(home), "-c", "listen_addresses=", "-c", "max_connections=300"]
    program = str(found[-1].parent / "postgres")
    server = subprocess.Popen([*user, program, "-D", str(home / "data"), *options], **quiet)
    try:
        while not (home / ".s.PGSQL.5432").exists():
            time.sleep(0.1)
        yield f"postgresql+psycopg2://sweep@/postgres?host={home}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(home)


def workers(kind: str, options: Options) -> Mapping[str, float]:
    """Run `main` with 100 workers on one storage, and return its figures."""
    count, trials = (4, 20) if options.quick else (100, 1000)
    command = [PYTHON, "-m", "benchmarks.scale", f"--workers={count}", f"--trials={trials}"]
    with tempfile.TemporaryDirectory() as folder:
        if kind == "journal":
            _, printed = run([*command, f"{folder}/study.journal"], Path(folder))
        else:
            with postgres() as url:
                _, printed = run([*command, url], Path(folder))
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def work(url: str, folder: Path, results: Path) -> None:
    """Claim and finish trials until none is left; write the times as JSON to `results`."""
    from hydra_plugins.hydra_study_sweeper._trials import ENDED, TrialQueue, TrialStore

    begin = time.perf_counter()
    store = TrialStore(url, "s", ["minimize"], folder)
    opened = time.perf_counter() - begin
    queue = TrialQueue(store, None, 0)
    queue.update(store.pop_changes())
    times, numbers = [], []
    while True:
        begin = time.perf_counter()
        trial = queue.claim_next()
        if trial is None:
            break
        middle = time.perf_counter()
        store.finish(trial, ENDED["finished"], {"status": "finished", "objective": 0.0})
        queue.update(store.pop_changes())
        times.append((middle - begin, time.perf_counter() - middle))
        numbers.append(trial.number)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"opened": opened, "times": times, "numbers": numbers, "peak": peak}
    results.write_text(json.dumps(found))


def main() -> None:
    """Make the sweep, fork the workers, and print the figures as JSON."""
    from statistics import median

    from hydra_plugins.hydra_study_sweeper._space import TrialParams
    from hydra_plugins.hydra_study_sweeper._trials import TrialStore

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--trials", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = time.perf_counter()
        child = os.fork()
        if child == 0:  # forked workers must not share a connection of this process
            store = TrialStore(args.url, "s", ["minimize"], folder)
            store.add([TrialParams({"seed": str(n)}, f"{n:x}") for n in range(args.trials)], {})
            os._exit(0)
        os.waitpid(child, 0)
        filled = time.perf_counter() - begin
        children = []
        begin = time.perf_counter()
        for number in range(args.workers):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    work(args.url, folder, folder / f"{number}.json")
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
        failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
        whole = time.perf_counter() - begin
        found = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    claims = sorted(claim for one in found for claim, _ in one["times"])
    ends = [end for one in found for _, end in one["times"]]
    numbers = [number for one in found for number in one["numbers"]]
    result = {
        "ms of a claim": 1000 * median(claims),
        "ms of a claim, 95 of 100": 1000 * claims[int(0.95 * len(claims))],
        "ms of an end": 1000 * median(ends),
        "claims per s, all workers": len(claims) / whole,
        "s to open": median(one["opened"] for one in found),
        "s to add the trials": filled,
        "MB of a worker": max(one["peak"] for one in found),
        "trials run twice": len(numbers) - len(set(numbers)),
        "trials left": args.trials - len(set(numbers)),
        "workers that failed": failed,
    }
    print(json.dumps(result))


def rows() -> list[Row]:
    """Return the rows about scale."""
    return [
        Row(
            "scale-trials",
            "Scale (processes that train nothing)",
            "10,000 trials on one machine",
            "",
            {"alexlab": partial(grid, 10_000)},
            rounds=1,
        ),
        Row(
            "scale-workers",
            "Scale (processes that train nothing)",
            "100 workers, 1,000 trials, one storage",
            "",
            {kind: partial(workers, kind) for kind in ("PostgreSQL", "journal")},
            rounds=1,
        ),
    ]


if __name__ == "__main__":
    main()
