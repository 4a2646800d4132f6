"""Resolve RUN_DIR or best:SWEEP_DIR to a finished run's folder, without importing torch."""

import logging
from pathlib import Path

from alexlab.runs.folder import BEST, CONFIG, is_locked, read_metrics
from hydra_plugins.hydra_study_sweeper.sweep_folder import read_sweep, read_trials

log = logging.getLogger(__name__)

BEST_OF = "best:"


def run_dir_of(path: str | Path, checkpoint: Path) -> Path:
    """Return the run folder of `path`, which is the folder itself or a file in it.

    Args:
        path: A run folder, or a file such as RUN_DIR/checkpoints/last.ckpt.
        checkpoint: LAST or BEST, the checkpoint that will be used.

    Raises:
        ValueError: If `path` is another checkpoint, or a file outside of a run folder.
    """
    path = Path(path)
    inside = path.is_file() or path.name == checkpoint.parent.name
    folders = [folder for folder in path.parents[:2] if (folder / CONFIG).is_file()]
    if not inside or not (folders or path.is_file()):
        return path
    if not folders:
        raise ValueError(f"{path}: not a file of a run; give RUN_DIR, the folder of a run")
    if path.suffix == checkpoint.suffix and path.name != checkpoint.name:
        raise ValueError(f"{path}: this command uses {checkpoint.name}; give {folders[0]}")
    return folders[0]


def resolve_run_dir(run: str | Path) -> Path:
    """Return the folder of the finished run `run`, or of the best run for `best:SWEEP_DIR`.

    Raises:
        FileNotFoundError: If the folder or its best.ckpt does not exist.
        ValueError: If it is not a run, or the run has not finished.
    """
    folder = run_dir_of(str(run).removeprefix(BEST_OF), BEST)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    table = folder / "trials.csv"
    if str(run).startswith(BEST_OF):
        if not table.is_file():
            raise FileNotFoundError(f"{folder} is not a sweep: it has no trials.csv")
        return _best(folder)
    if table.is_file():
        raise ValueError(f"{folder} is a sweep, not a run; {BEST_OF}{folder} is its best run")
    _check(folder)
    return folder


def _best(sweep: Path) -> Path:
    rows = [row for row in read_trials(sweep) if row["state"] == "finished"]
    about = read_sweep(sweep)
    maximize = next(iter(about["directions"])) == "maximize"
    better: list[Path] = []
    for row in sorted(rows, key=lambda row: float(row["objective"]), reverse=maximize):
        folder = sweep / row["folder"]
        if (folder / BEST).is_file():
            note = f"; {len(better)} better without weights" if better else ""
            log.info(f"best of {sweep}: {folder}, {row['objective']}{note}")
            return folder
        better.append(folder)
    way = f"; {_train_again(better[0])}" if better else ""
    raise FileNotFoundError(f"{sweep} has no finished run with {BEST}{way}")


def _train_again(run: Path) -> str:
    """Return a sentence with the command that trains a trial again, to get its weights."""
    number = run.name.partition("-")[0]
    return f"alexlab sweeps rerun {run.parent} --trials {number} trains it again"


def _check(folder: Path) -> None:
    """Raise an error unless `folder` has a finished run with best.ckpt."""
    if not (folder / CONFIG).exists():
        raise FileNotFoundError(f"{folder} is not a run folder: it has no {CONFIG}")
    metrics = read_metrics(folder)
    status = metrics["status"] if metrics else "running" if is_locked(folder) else "interrupted"
    if status != "finished":
        again = f"; continue it with alexlab train resume={folder}"
        may = again if status in ("stopped", "interrupted") else ""
        raise ValueError(f"{folder} has not finished, its status is {status}{may}")
    if not (folder / BEST).is_file():
        if origin := (metrics or {}).get("reused_from"):
            raise FileNotFoundError(
                f"{folder} has no {BEST}: its result was copied from {origin!s:.200}, without"
                f" weights; {_train_again(folder)}"
            )
        raise FileNotFoundError(
            f"{folder} has no {BEST}: its sweep kept the weights of its best runs only; use"
            f" {BEST_OF}SWEEP_DIR (with sweep.keep_best=null a sweep keeps all weights)"
        )
