"""Manage sweeps on disk: `alexlab sweeps list | rm | rerun | clean`, each with --dry-run.

list   list every sweep with its trials, training time and disk space
rm     delete sweeps
rerun  run trials again by their numbers, or all that failed; their old files go to .old/
clean  delete last.ckpt of ended trials and .old/; with --checkpoints also best.ckpt
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.table import Table
from rich.text import Text

from alexlab.commands.arguments import command_parser
from alexlab.errors import user_errors
from alexlab.reporting.console import wide_console
from alexlab.reporting.formatting import format_duration
from alexlab.runs.folder import is_locked
from alexlab.runs.sweeps import ENDED, sweeps_below, trials
from hydra_plugins.hydra_study_sweeper.overrides import is_inert, key_of, quote
from hydra_plugins.hydra_study_sweeper.requeue import requeue_trials
from hydra_plugins.hydra_study_sweeper.run_folder import BEST, LAST, METRICS, previous, size
from hydra_plugins.hydra_study_sweeper.sweep_folder import (
    OLD,
    SWEEP,
    TRIALS,
    is_in_use,
    read_sweep,
    without_password,
)

TRAIN = ["-m", "alexlab", "train"]  # the program that `rerun` starts
TYPED = [  # the programs that a sweep's command may have
    ["python", "-m", "src.train"],
    ["python", "-m", "alexlab", "train"],
    ["alexlab", "train"],
]
STORAGE, PLACE, NAME = "sweep.storage", "hydra.sweep.dir", "sweep.name"
HYDRAS = {  # further settings that a command from a file may have -> pattern of their values
    "hydra/launcher": r"\w+",
    "hydra.launcher.n_jobs": r"-?\d+",
    "hydra.launcher.start_method": r"forkserver|spawn",
    "hydra.launcher.timeout_min": r"\d+",
    "hydra.launcher.cpus_per_task": r"\d+",
    "hydra.launcher.gpus_per_node": r"\d+",
    STORAGE: r".*",  # replaced by --storage
    PLACE: r".*",
}


def show(root: Path) -> int:
    """Print a table of the sweeps below `root`; return the number that cannot be read."""
    unreadable = 0
    table = Table(box=None, pad_edge=False)
    for column in ("sweep", "trials", "status", "training time", "disk"):
        table.add_column(column, overflow="fold")
    for sweep in sweeps_below(root):
        try:
            rows = trials(sweep)
            seconds = sum(float(row.get("wall_s") or 0) for row in rows)
        except (OSError, ValueError) as error:
            table.add_row(Text(str(sweep)), "?", Text(f"cannot be read: {error}"), "", "")
            unreadable += 1
            continue
        states = Counter(row["state"] for row in rows)
        state = ", ".join(f"{n} {name}" for name, n in states.most_common())
        disk = f"{size(sweep) / 1e6:.1f} MB"
        table.add_row(Text(str(sweep)), str(len(rows)), Text(state), format_duration(seconds), disk)
    wide_console().print(table if table.row_count else f"no sweeps below {root}")
    return unreadable


def check_idle(sweep: Path) -> Path:
    """Return `sweep` if it is the folder of a sweep and nothing is running in it.

    Raises:
        FileNotFoundError: `sweep` is not the folder of a sweep.
        ValueError: A sweeper or a trial is running, or `sweep` is a link.
    """
    for name in (TRIALS, SWEEP):
        if not (sweep / name).is_file():
            raise FileNotFoundError(f"{sweep} is not a sweep: it has no {name}")
    if sweep.is_symlink():
        raise ValueError(f"{sweep} is a link: give the folder {sweep.resolve()} itself")
    if is_in_use(sweep):
        raise ValueError(f"{sweep} is running: stop the sweep first (Ctrl-C)")
    for row in trials(sweep):
        if is_locked(sweep / row["folder"]):
            raise ValueError(f"{sweep / row['folder']} is running: stop the sweep first (Ctrl-C)")
    return sweep


def delete(paths: Iterable[Path], *, dry_run: bool) -> None:
    """Delete files and folders, and print the size of each."""
    for path in paths:
        freed = size(path) if path.is_dir() else path.stat().st_size
        print(f"{'would delete' if dry_run else 'deleted'} {path} ({freed / 1e6:.1f} MB)")
        if not dry_run:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def unneeded(sweep: Path, *, weights: bool) -> list[Path]:
    """Return the files and folders that `clean` deletes; `weights` adds each best.ckpt."""
    names = [LAST, BEST] if weights else [LAST]
    ended = [sweep / row["folder"] for row in trials(sweep) if row["state"] in ENDED]
    newest = [folder / name for folder in ended for name in names]
    found = [path for one in newest for path in (one, previous(one))]
    return [path for path in [*found, sweep / OLD] if path.exists()]


def rerun(sweep: Path, numbers: list[int], *, storage: str | None, dry_run: bool) -> int:
    """Run trials again with the sweep's own command, and return its exit code.

    Args:
        sweep: The sweep's folder.
        numbers: Numbers of the trials; empty for all failed trials.
        storage: URL of the sweep's Optuna storage, if it has one.
        dry_run: Print the command only.

    Raises:
        ValueError: A trial does not exist or has not ended, the command could run foreign code, or
            the sweep has a storage and `storage` is missing.
    """
    path = sweep / SWEEP
    about = read_sweep(sweep)
    words = safe_words(path, about.get("command"))
    stored = [word for word in words if key_of(word) == STORAGE]
    if (kept := about.get("storage") or stored) and not storage:
        raise ValueError(f"{path}: the sweep has a storage, {kept!r:.200}; add --storage URL")
    place = {NAME: sweep.absolute().name, PLACE: str(sweep.absolute().parent)}
    place |= {STORAGE: storage} if storage else {}
    words = [word for word in words if key_of(word) not in (NAME, PLACE, STORAGE)]
    words += [f"{key}={quote(value)}" for key, value in place.items()]
    if not numbers:
        words.append("sweep.rerun_failed=true")
    command = ["python", *TRAIN, *words]
    print(shlex.join(map(without_password, command)))
    if dry_run:
        return 0
    if numbers:
        requeue_trials(sweep, numbers, storage=storage)
    code = subprocess.call([sys.executable, *command[1:]])
    folders = {row["number"]: sweep / row["folder"] for row in trials(sweep)}
    for number in numbers:
        if not (folders[str(number)] / METRICS).is_file():  # for example because conf/ changed
            print(f"trial {number} did not run: its files are in {sweep / OLD}", file=sys.stderr)
            code = code or 1
    return code


def safe_words(path: Path, command: object) -> list[str]:
    """Return the arguments of a sweep's `command`, if none can make `train` run foreign code.

    Raises:
        ValueError: The program is not in `TYPED`, or an argument is neither -m nor a safe override;
            the message starts with `path`.
    """
    try:
        words = shlex.split(str(command))
    except ValueError:
        words = []
    typed = next((known for known in TYPED if words[: len(known)] == known), None)
    if typed is None:
        wrong = [shlex.join(words[:3])]
    else:
        words = words[len(typed) :]
        wrong = [word for word in words if not _is_safe(word)]
    if wrong:
        raise ValueError(
            f"{path}: its command has {wrong[0]!r:.200}, which is not run from a file; check the"
            " command and type it yourself"
        )
    return words


def _is_safe(word: str) -> bool:
    """Return whether an argument is `-m`, or an override that cannot make a run call any code."""
    value = word.partition("=")[2]
    if word in ("-m", "--multirun"):
        return True
    if (name := key_of(word)) in HYDRAS:
        return re.fullmatch(HYDRAS[name], value) is not None
    is_pickle = name == "sweep.sampler" and "cmaes" in value  # it keeps its state as a pickle
    return is_inert(word) and not is_pickle


def main() -> None:
    """Run `alexlab sweeps`."""
    parser = command_parser("sweeps", __doc__)
    parser.add_argument("what", choices=["list", "rm", "rerun", "clean"])
    parser.add_argument("sweeps", nargs="*", type=Path, help="folders; list: multirun by default")
    parser.add_argument("--trials", nargs="*", type=int, default=[], help="rerun: trial numbers")
    parser.add_argument("--storage", help="rerun: URL of the sweep's storage, if it has one")
    parser.add_argument("--checkpoints", action="store_true", help="clean: also best.ckpt")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be done")
    options = parser.parse_args()
    with user_errors():
        sys.exit(act(options))


def act(options: argparse.Namespace) -> int:
    """Run the chosen action, and return the exit code."""
    if options.what == "list":
        return 1 if sum(map(show, options.sweeps or [Path("multirun")])) else 0
    if not options.sweeps:
        raise ValueError(f"no sweep is named; write alexlab sweeps {options.what} multirun/NAME")
    code = 0
    for sweep in map(check_idle, options.sweeps):
        if options.what == "rm":
            delete([sweep], dry_run=options.dry_run)
        elif options.what == "clean":
            delete(unneeded(sweep, weights=options.checkpoints), dry_run=options.dry_run)
        else:
            done = rerun(sweep, options.trials, storage=options.storage, dry_run=options.dry_run)
            code = max(code, done)
    return code
