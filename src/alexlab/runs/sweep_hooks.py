"""Provide the sweeper's hooks: settings of this machine, data checks, progress, fingerprint."""

import hashlib
import os
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alexlab.errors import missing_data
from alexlab.performance.devices import effective_batch_size, resolve_precision
from alexlab.reporting.formatting import format_metric
from alexlab.runs.folder import CONFIG, read_history
from alexlab.runs.settings import check_settings
from hydra_plugins.hydra_study_sweeper.run_folder import read_plain_yaml


def resolve(config: dict[str, Any]) -> dict[str, Any]:
    """Check a trial's settings, and return those whose default depends on the machine.

    The sweeper sets them in each trial, so that a worker with another device trains the same way
    or refuses the trial. `trainer.devices=auto` becomes 1, since trials run in parallel.

    Raises:
        ValueError: If a setting cannot work.
    """
    check_settings(config)
    trainer, devices = config["trainer"], {}
    precision = trainer["precision"]
    if precision == "auto":
        precision = resolve_precision(trainer["accelerator"])
    if trainer["devices"] == "auto":
        devices = {"trainer.devices": 1}
        trainer = {**trainer, "devices": 1}
    batch = effective_batch_size(config["data"]["batch_size"], trainer)
    return {"trainer.precision": precision, **devices, "effective_batch_size": batch}


def check_data(config: dict[str, Any]) -> None:
    """Raise FileNotFoundError if data.root does not exist; the run creates one below cache_dir."""
    data = config["data"]
    if not data["root"]:
        return  # the run raises the error
    root, cache = (
        Path(str(path)).expanduser().absolute() for path in (data["root"], data["cache_dir"])
    )
    if not root.is_dir() and not root.is_relative_to(cache):
        raise FileNotFoundError(missing_data(data["name"], data["root"]))


@lru_cache(maxsize=1024)
def _settings(path: Path) -> tuple[str, int]:
    """Return the objective and the number of epochs in a config.yaml."""
    config = read_plain_yaml(path)
    return str(config["objective"]), int(config["trainer"]["max_epochs"])


def progress(folder: Path) -> str:
    """Describe the progress of a run, as "epoch 3/20, val/acc 35.0%"; "" before its first epoch."""
    try:
        objective, epochs = _settings(folder / CONFIG)
        row = read_history(folder)[-1]
        return f"epoch {row['epoch']}/{epochs}, {objective} " + format_metric(
            objective, float(row[objective])
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError):  # no row or config yet
        return ""


def fingerprint(config: dict[str, Any]) -> dict[str, str]:
    """Return the facts that must not change in a sweep: precision, torch's major version, data.

    Args:
        config: A trial's composed, resolved config.
    """
    marks = {"torch": version("torch").split(".")[0]}
    marks["trainer.precision"] = str(config["trainer"]["precision"])
    root = Path(str(config["data"]["root"]))
    files = sorted(_sizes_of_files(root)) if root.is_dir() else []
    if files:  # generated data may not exist yet
        digest = hashlib.sha256("\n".join(files).encode(errors="surrogateescape"))
        marks[f"data {config['data']['name']}"] = digest.hexdigest()[:16]
    return marks


def _sizes_of_files(root: Path) -> list[str]:
    """Return relative path and size of every visible file below `root`."""
    found = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
    visible = [path for path in found if not os.path.basename(path).startswith(".")]
    return [f"{os.path.relpath(path, root)} {os.path.getsize(path)}" for path in visible]
