"""Compare single runs in a table: the settings that differ, and the results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexlab.reporting.formatting import format_duration, format_metric
from alexlab.reporting.markdown import escape, markdown
from alexlab.runs.config import flatten
from alexlab.runs.folder import CONFIG, read_metrics
from hydra_plugins.hydra_study_sweeper.run_folder import read_plain_yaml
from hydra_plugins.hydra_study_sweeper.sweep_folder import TRIALS

# settings that change no result
PLACES = ("resume", "data_dir", "cache_dir", "data.cache_dir", "model.weights_dir")


def is_run(folder: Path) -> bool:
    """Return whether `folder` is a run folder, not that of a sweep."""
    return (folder / CONFIG).is_file() and not (folder / TRIALS).is_file()


def compare(folders: Sequence[Path]) -> tuple[list[str], list[list[str]]]:
    """Return a table of runs: differing settings first, then status, metrics and time.

    Returns:
        The head, with the names of the folders, and rows of texts ("-" for a missing value).

    Raises:
        FileNotFoundError: A folder is not a run folder.
        ValueError: A file of a run cannot be read.
    """
    for folder in folders:
        if not is_run(folder):
            raise FileNotFoundError(f"{folder} is not a run folder: it has no {CONFIG}")
    configs = [flatten(read_plain_yaml(folder / CONFIG)) for folder in folders]
    records = [read_metrics(folder) or {} for folder in folders]
    keys = [key for key in dict.fromkeys(k for c in configs for k in c) if key not in PLACES]
    rows = [
        [key, *(str(config.get(key, "-")) for config in configs)]
        for key in keys
        if len({config.get(key) for config in configs}) > 1
    ]
    rows.append(["status", *(str(record.get("status", "not ended")) for record in records)])
    names = dict.fromkeys(name for record in records for name in record.get("metrics") or {})
    for name in names:
        values = [(record.get("metrics") or {}).get(name) for record in records]
        rows.append([name, *("-" if v is None else format_metric(name, v) for v in values)])
    for key in ("best_epoch", "epochs", "params"):
        rows.append([key, *(_whole(record.get(key)) for record in records)])
    seconds = [record.get("wall_s") for record in records]
    rows.append(["time", *("-" if s is None else format_duration(s) for s in seconds)])
    return ["", *(folder.name for folder in folders)], rows


def _whole(value: Any) -> str:
    return "-" if value is None else f"{value:,}"


def comparison(folders: Sequence[Path]) -> str:
    """Return the table of `compare` in Markdown."""
    head, rows = compare(folders)
    return markdown([*map(escape, head)], [[*map(escape, row)] for row in rows])
