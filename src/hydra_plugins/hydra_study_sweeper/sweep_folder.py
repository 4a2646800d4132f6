"""The files of a sweep's folder: sweep.yaml describes it, trials.csv has one row per trial.

Hydra imports this file in every process.
"""

import contextlib
import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from hydra_plugins.hydra_study_sweeper.run_folder import (
    flock,
    is_held,
    is_plain_name,
    read_bounded,
    read_plain_yaml,
)

# the last one is a folder: it keeps the files of runs that were requeued
SWEEP, TRIALS, JOURNAL, OLD = "sweep.yaml", "trials.csv", "study.journal", ".old"
TRIALS_BYTES = 1 << 26
IN_USE = ".sweeper.lock"
VERSION = 1  # of sweep.yaml and of the storage's content; older sweeps have no version


def read_sweep(folder: Path, *, otherwise: str = "run the sweep again") -> dict[str, Any]:
    """Read sweep.yaml. Interpolations in it stay text: do not give it to OmegaConf.

    Args:
        folder: The sweep's folder.
        otherwise: What the user can do if another version made the sweep.

    Raises:
        ValueError: It is not plain data, or another version made it.
        OSError: It cannot be read.
    """
    content = read_plain_yaml(folder / SWEEP, interpolations=True)
    check_version(folder, content, otherwise=otherwise)
    return content


def check_version(
    folder: Path, content: Mapping[str, Any], *, otherwise: str = "run the sweep again"
) -> None:
    """Raise ValueError if another version wrote `content` about the sweep in `folder`."""
    version = content.get("version")
    if version != VERSION:
        which = "an older version" if version is None else f"a version with format {version!r:.20}"
        raise ValueError(
            f"{folder} was made by {which} of the sweeper, and this one reads format {VERSION};"
            f" {otherwise}"
        )


def read_trials(folder: Path) -> list[dict[str, str]]:
    """Read the rows of trials.csv.

    Raises:
        ValueError: It is no such table, or a row names a folder that is not in the sweep's folder.
        OSError: There is no such file.
    """
    path = folder / TRIALS
    try:
        rows = list(csv.DictReader(io.StringIO(read_bounded(path, TRIALS_BYTES), newline="")))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}: no table of trials: {error}; run the sweep again") from None
    if missing := [name for name in ("state", "folder") if rows and rows[0].get(name) is None]:
        raise ValueError(f"{path}: no table of trials: it has no {missing[0]}; run the sweep again")
    for row in rows:
        if not is_plain_name(row.get("folder")):
            raise ValueError(
                f"{path}: {row.get('folder')!r:.100} is not the name of a folder in this sweep;"
                " correct it, or run the sweep again"
            )
    return rows


def hold(folder: Path) -> BinaryIO:
    """Mark the sweep in `folder` as run by this process, until the returned file is closed.

    Several sweepers may run it at a time. The system drops the mark when the process exits.
    """
    file = (folder / IN_USE).open("ab")
    with contextlib.suppress(OSError):  # a file system without locks
        flock(file, shared=True, wait=True)
    return file


def is_in_use(folder: Path) -> bool:
    """Return whether a sweeper on this machine runs the sweep; always False on Windows."""
    return is_held(folder / IN_USE, shared=False)


def without_password(url: str) -> str:
    """Return `url` with *** in place of a password, to be printed or stored."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
