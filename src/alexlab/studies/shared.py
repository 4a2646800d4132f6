"""Find trials that several sweeps have in common, in committed tables and beside a sweep."""

import csv
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from alexlab.runs.config import CONF
from alexlab.studies.results import Sweep, setting_of
from alexlab.studies.setting import NOT_ANALYSED
from hydra_plugins.hydra_study_sweeper.sweep_folder import SWEEP, read_trials

PUBLISHED = CONF.parent / "docs" / "studies"  # the committed answers of a checkout
ANSWERS, RUNS = "answers.json", "runs.csv"
IDENTITY = "identity"


def known_result(identity: str, sweep: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the metrics.json of a trial from a committed runs.csv, or None.

    The row must be of a finished run on the same data, with every number that the study uses. The
    study and the fingerprint of its data are in `sweep`, the content of sweep.yaml.
    """
    for file, row in _committed(PUBLISHED).get(identity, []):
        from alexlab.studies.answers import metrics_of  # needs scipy

        metrics = metrics_of(sweep.get("about") or {}, setting_of(sweep))
        if row.get("trained") == "False":  # some metrics have no value for guessing, as in the row
            metrics = [name for name in metrics if row.get(name) != ""]
        numbers = {name: _number(row.get(name, "")) for name in metrics}
        if row.get("state") != "finished" or None in numbers.values():
            continue
        with suppress(
            OSError, ValueError, LookupError, TypeError, AttributeError
        ):  # not our columns
            if _same_data(file, sweep):
                torch = str((sweep.get("fingerprint") or {}).get("torch"))
                return {**_record(file, row, numbers), "versions": {"torch": torch}}
    return None


@cache
def _committed(root: Path) -> dict[str, list[tuple[Path, dict[str, str]]]]:
    """Return {identity: (file, row)} of every runs.csv below `root`."""
    found: dict[str, list[tuple[Path, dict[str, str]]]] = {}
    for file in sorted(root.glob(f"*/*/{RUNS}")):
        with suppress(OSError, ValueError, csv.Error), file.open(newline="", encoding="utf-8") as f:
            for row in csv.DictReader(f):
                row.pop(None, None)  # cells beyond the columns
                if row.get(IDENTITY):
                    found.setdefault(row[IDENTITY], []).append((file, row))
    return found


def _same_data(file: Path, sweep: Mapping[str, Any]) -> bool:
    """Return whether the runs of a table had the data of this sweep, by their fingerprints."""
    written = json.loads((file.parent / ANSWERS).read_text("utf-8")).get("fingerprint") or {}
    here = sweep.get("fingerprint") or {}
    has_data = any(key.startswith("data ") for key in here)
    return has_data and all(written.get(key) == value for key, value in here.items())


def _record(file: Path, row: Mapping[str, str], numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as metrics.json; `numbers` has the value of each metric expression."""
    plain = {
        name: number
        for name, cell in row.items()
        if "/" in name and "(" not in name and (number := _number(cell)) is not None
    }
    return {
        "status": "finished",
        "error": None,
        "objective": _number(row["objective"]),
        "metrics": plain,
        "numbers": dict(numbers),
        "epochs": int(float(row["epochs"])),
        "wall_s": _number(row["wall_s"]),
        "symptoms": [symptom for symptom in row["symptoms"].split("; ") if symptom],
        "images": {split: int(float(row[f"{split}_images"])) for split in ("train", "test")},
        "git": row["commit"],
        "data_fingerprint": row["data"],
        "reused_from": str(file.relative_to(PUBLISHED.parent.parent)),
    }


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except (ValueError, TypeError):  # a line that ends early has no cell
        return None
    return value if math.isfinite(value) else None


def shared_conditions(sweep: Sweep) -> dict[str, list[str]]:
    """Return {condition: names of the sweeps beside this one that have the same runs}."""
    others: dict[str, set[str]] = {}
    for path in sweep.folder.parent.glob(f"*/{SWEEP}"):
        name = path.parent.name
        if path.parent == sweep.folder or name.endswith(NOT_ANALYSED):
            continue
        try:
            rows = read_trials(path.parent)
        except (OSError, ValueError):
            continue
        for row in rows:
            if row.get(IDENTITY) and row.get("state") == "finished":
                others.setdefault(row[IDENTITY], set()).add(name)
    found: dict[str, set[str]] = {}
    for run in sweep.done:
        if run.identity in others:
            found.setdefault(sweep.label(run.values), set()).update(others[run.identity])
    return {label: sorted(names) for label, names in found.items()}
