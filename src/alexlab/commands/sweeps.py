"""Sweeps on disk: `alexlab sweeps list | rm | rerun | clean`, each with --dry-run.

list   every sweep with its state, disk and training time
rm     deletes sweeps
rerun  runs trials again by their numbers, or those that failed; what they had goes to .old/
clean  deletes what no reader needs: last.ckpt of ended runs, .old/; with --checkpoints all weights
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

from alexlab.errors import user_errors
from alexlab.runs.folder import is_locked
from hydra_plugins.hydra_study_sweeper._display import duration, wide_console
from hydra_plugins.hydra_study_sweeper.run_folder import BEST, LAST, previous, size
from hydra_plugins.hydra_study_sweeper.sweep_folder import read_sweep, read_trials

ENDED = ("finished", "pruned", "failed")
PROGRAM = "src.train"  # what `rerun` starts
STORAGE, PLACE, NAME = "sweep.storage", "hydra.sweep.dir", "sweep.name"
HYDRAS = {  # Hydra's settings that a command from a file may have, and what they may be
    "hydra/launcher": r"\w+",
    "hydra.launcher.n_jobs": r"-?\d+",
    "hydra.launcher.timeout_min": r"\d+",
    "hydra.launcher.cpus_per_task": r"\d+",
    "hydra.launcher.gpus_per_node": r"\d+",
    STORAGE: r".*",  # replaced by --storage
    PLACE: r".*",
}


def rows(sweep: Path) -> list[dict[str, str]]:
    """The rows of trials.csv; a run whose sweeper died reads `interrupted`."""
    found = read_trials(sweep)
    for row in found:
        if row["state"] == "running" and not is_locked(sweep / row["folder"]):
            row["state"] = "interrupted"
    return found


def sweeps_below(root: Path) -> list[Path]:
    """The sweeps in `root`, which may be one itself."""
    found = [root] if (root / "trials.csv").is_file() else []
    return found or sorted(path.parent for path in root.glob("*/trials.csv"))


def show(root: Path) -> None:
    """Print a table of the sweeps below `root`."""
    table = Table(box=None, pad_edge=False)
    for column in ("sweep", "trials", "state", "training time", "disk"):
        table.add_column(column, overflow="fold")
    for sweep in sweeps_below(root):
        trials = rows(sweep)
        states = Counter(row["state"] for row in trials)
        seconds = sum(float(row["wall_s"] or 0) for row in trials)
        state = ", ".join(f"{n} {name}" for name, n in states.most_common())
        disk = f"{size(sweep) / 1e6:.1f} MB"
        table.add_row(str(sweep), str(len(trials)), state, duration(seconds), disk)
    wide_console().print(table if table.row_count else f"no sweeps below {root}")


def checked(sweep: Path) -> Path:
    """`sweep`, if it is one and nothing runs in it.

    Raises:
        FileNotFoundError: It is no sweep.
        ValueError: A run is under way in it.
    """
    if not (sweep / "trials.csv").is_file():
        raise FileNotFoundError(f"{sweep} is no sweep: it has no trials.csv")
    for row in rows(sweep):
        if is_locked(sweep / row["folder"]):
            raise ValueError(f"{sweep / row['folder']} is running: stop the sweep first (Ctrl-C)")
    return sweep


def delete(paths: Iterable[Path], *, dry_run: bool) -> None:
    """Delete files and folders, and say what that frees."""
    for path in paths:
        freed = size(path) if path.is_dir() else path.stat().st_size
        print(f"{'would delete' if dry_run else 'deleted'} {path} ({freed / 1e6:.1f} MB)")
        if not dry_run:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def unneeded(sweep: Path, *, weights: bool) -> list[Path]:
    """What `clean` deletes."""
    names = [LAST, BEST] if weights else [LAST]
    ended = [sweep / row["folder"] for row in rows(sweep) if row["state"] in ENDED]
    newest = [folder / name for folder in ended for name in names]
    found = [path for one in newest for path in (one, previous(one))]
    return [path for path in [*found, sweep / ".old"] if path.exists()]


def rerun(sweep: Path, numbers: list[int], *, storage: str | None, dry_run: bool) -> int:
    """Make trials pending again, and give the sweep's own command; its exit code.

    Raises:
        ValueError: There is no such trial, it has not ended, the command could run foreign code,
            or the sweep has a storage and `storage` is not given.
    """
    from hydra_plugins.hydra_study_sweeper._space import quoted
    from hydra_plugins.hydra_study_sweeper._storage import without_password
    from hydra_plugins.hydra_study_sweeper._trials import Ledger

    path = sweep / "sweep.yaml"
    about = read_sweep(sweep)
    words = safe_words(path, about.get("command"))
    stored = [word for word in words if _key(word) == STORAGE]
    if (kept := about.get("storage") or stored) and not storage:
        raise ValueError(f"{path}: the sweep has a storage, {kept!r:.200}; say --storage URL")
    place = {NAME: sweep.absolute().name, PLACE: str(sweep.absolute().parent)}
    place |= {STORAGE: storage} if storage else {}
    words = [word for word in words if _key(word) not in (NAME, PLACE, STORAGE)]
    words += [f"{key}={quoted(value)}" for key, value in place.items()]
    if not numbers:
        words.append("sweep.rerun_failed=true")
    command = ["python", "-m", PROGRAM, *words]
    print(shlex.join(map(without_password, command)))
    if dry_run:
        return 0
    if numbers:
        url = storage or str(sweep.absolute() / "study.journal")
        ledger = Ledger(url, sweep.absolute().name, list(about["directions"]), sweep.absolute())
        for number in numbers:
            if number not in ledger.records or not ledger.records[number].ended:
                raise ValueError(f"{sweep} has no trial {number} that has ended")
            record = ledger.records[number]
            set_aside(sweep / record.folder)
            ledger.again(record, "pending")
    return subprocess.call([sys.executable, *command[1:]])


def safe_words(path: Path, command: object) -> list[str]:
    """Return the arguments of a sweep's `command`, if none can make src.train run foreign code.

    Args:
        path: The sweep.yaml that has it, for the error.
        command: `python -m src.train`, then `-m` and overrides.

    Raises:
        ValueError: It is another program, or an argument is an option, sets what Hydra calls, or
            reads a config file outside of conf/.
    """
    try:
        words = shlex.split(str(command))
    except ValueError:
        words = []
    program, words = words[:3], words[3:]
    wrong = [word for word in words if not _is_safe(word)]
    if program != ["python", "-m", PROGRAM]:
        wrong = [shlex.join(program)]
    if wrong:
        raise ValueError(
            f"{path}: its command has {wrong[0]!r:.200}, which is not run from a file; check the"
            " command, then type it yourself"
        )
    return words


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")


def _is_safe(word: str) -> bool:
    """Whether an argument is `-m`, or an override that cannot make a run call foreign code."""
    from hydra_plugins.hydra_study_sweeper._space import is_inert

    key, _, value = word.partition("=")
    if word in ("-m", "--multirun"):
        return True
    if (name := key.lstrip("+")) in HYDRAS:
        return re.fullmatch(HYDRAS[name], value) is not None
    is_pickle = name == "sweep.sampler" and "cmaes" in value  # its state in the study is one
    return is_inert(word) and not is_pickle


def set_aside(folder: Path) -> None:
    """Move a run's folder to .old/, under a name that is free there."""
    old = folder.parent / ".old"
    old.mkdir(exist_ok=True)
    turn = 1
    while (target := old / f"{folder.name}.{turn}").exists():
        turn += 1
    if folder.exists():
        folder.rename(target)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="alexlab sweeps",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("what", choices=["list", "rm", "rerun", "clean"])
    parser.add_argument(
        "sweeps", nargs="*", type=Path, help="folders; multirun by default for list"
    )
    parser.add_argument("--trials", nargs="*", type=int, default=[], help="rerun: their numbers")
    parser.add_argument("--storage", help="rerun: its URL, where that has a password")
    parser.add_argument("--checkpoints", action="store_true", help="clean: best.ckpt too")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    options = parser.parse_args()
    with user_errors():
        sys.exit(act(options))


def act(options: argparse.Namespace) -> int:
    """Do what the command line says."""
    if options.what == "list":
        for root in options.sweeps or [Path("multirun")]:
            show(root)
        return 0
    if not options.sweeps:
        raise ValueError(f"which sweep? alexlab sweeps {options.what} multirun/NAME")
    code = 0
    for sweep in map(checked, options.sweeps):
        if options.what == "rm":
            delete([sweep], dry_run=options.dry_run)
        elif options.what == "clean":
            delete(unneeded(sweep, weights=options.checkpoints), dry_run=options.dry_run)
        else:
            again = rerun(sweep, options.trials, storage=options.storage, dry_run=options.dry_run)
            code = max(code, again)
    return code


if __name__ == "__main__":
    main()
