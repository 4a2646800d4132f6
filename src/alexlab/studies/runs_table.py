"""Make the table of a sweep, runs.csv, with one row per run; answers are computed from it.

It has the values of the axes, the seed, whether the run trained, its symptoms, the hash of its
split, its commit, and every number that a claim uses. A run that did not train has the values of
guessing (see `validity`).
"""

import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from alexlab.studies.results import SEED, Run, Sweep, is_number, name_condition, same
from alexlab.studies.validity import Gate, symptoms_of, value_for_claims

ENDED = "finished", "failed"  # states of a run that will not change
SPLIT_SETTINGS = "split", "split_seed", "val_fraction", "test_fraction", "fraction"
FIXED = ["trial", "state", SEED, "epochs", "max_epochs", "trained", "diverged", "symptoms"]
FIXED += [
    "split",
    "commit",
    "data",
    "train_images",
    "test_images",
    "objective",
    "wall_s",
    "identity",
    "error",
]
DIGITS = "%.9g"


@dataclass(frozen=True)
class RunsTable:
    """The table with its axes (without the seed); values of axes are text."""

    frame: pd.DataFrame
    axes: list[str]

    def at(self, values: Mapping[str, Any]) -> pd.DataFrame:
        """Return the runs with these `values` of the axes.

        Raises:
            KeyError: A key of `values` is not an axis.
        """
        found = self.frame
        for axis, value in values.items():
            found = found[[same(text, value) for text in found[axis]]]
        return found

    @property
    def varied(self) -> list[str]:
        """Return the axes with more than one value."""
        return [axis for axis in self.axes if self.frame[axis].nunique() > 1]

    def name(self, values: Mapping[str, Any]) -> str:
        """Name values of axes in short, as in "lr 0.01"."""
        return name_condition(values, self.axes, self.varied)

    @property
    def seeds(self) -> list[str]:
        """Return the seeds in increasing order."""
        seeds = [str(seed) for seed in self.frame[SEED].unique()]
        return sorted(seeds, key=lambda s: (not is_number(s), float(s) if is_number(s) else 0, s))

    def to_csv(self) -> str:
        """Return the text of runs.csv, with nine significant digits."""
        text: str = self.frame.to_csv(index=False, float_format=DIGITS, lineterminator="\n")
        return text


def make_runs_table(sweep: Sweep, metrics: Iterable[str], gate: Gate | None) -> RunsTable:
    """Make the table of a sweep, with the numbers rounded as in runs.csv."""
    metrics = list(dict.fromkeys(metrics))
    rows = [_row(run, sweep.axes, metrics, gate) for run in sweep.runs]
    columns = list(dict.fromkeys([*FIXED[:2], *sweep.axes, *FIXED[2:], *metrics]))
    made = RunsTable(pd.DataFrame(rows, columns=columns), list(sweep.axes))
    return parse_runs_table(made.to_csv(), sweep.axes)


def _row(
    run: Run, axes: Sequence[str], metrics: Sequence[str], gate: Gate | None
) -> dict[str, Any]:
    images = run.record.get("images") or {}
    ended, value = run.finished or run.diverged, run.record.get("objective")
    return {
        "trial": run.number,
        "state": run.state,
        **{axis: run.values[axis] for axis in axes},
        SEED: run.seed,
        "epochs": run.record.get("epochs"),
        "max_epochs": run.config.get("trainer.max_epochs"),
        "trained": (gate is None or gate.trained(run)) if ended else None,
        "diverged": run.diverged,
        "symptoms": "; ".join(symptoms_of(run)),
        "split": split_hash(run) if run.config else "",
        "commit": str(run.record.get("git") or "")[:12],
        "data": str(run.record.get("data_fingerprint") or ""),
        "train_images": images.get("train"),
        "test_images": images.get("test"),
        "objective": value if isinstance(value, int | float) else None,
        "wall_s": run.record.get("wall_s"),
        "identity": run.identity,
        "error": " ".join(run.error.split())[:200],
        **{metric: value_for_claims(run, metric, gate) for metric in metrics},
    }


def split_hash(run: Run) -> str:
    """Return a short hash of the images and of the split of a run."""
    settings = {key: str(run.config.get(f"data.{key}")) for key in SPLIT_SETTINGS}
    facts = [run.record.get("data_fingerprint"), settings]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def read_runs_table(path: Path, axes: Sequence[str]) -> RunsTable:
    """Read runs.csv.

    Raises:
        ValueError: A column is missing, or a cell has a wrong type.
    """
    try:
        return parse_runs_table(path.read_text("utf-8"), axes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; `alexlab report SWEEP_DIR` writes it again") from None


def parse_runs_table(text: str, axes: Sequence[str]) -> RunsTable:
    """Parse the text of runs.csv.

    Raises:
        ValueError: A column is missing, or a cell has a wrong type.
    """
    frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    if missing := [name for name in [*FIXED, *axes] if name not in frame.columns]:
        raise ValueError(f"column {missing[0]!r} is missing")
    texts = {"state", "symptoms", "split", "commit", "data", "identity", "error", SEED, *axes}
    for name in frame.columns:
        if name in ("trained", "diverged"):
            frame[name] = [_truth(name, line, cell) for line, cell in enumerate(frame[name], 2)]
        elif name not in texts:
            frame[name] = [_number(name, line, cell) for line, cell in enumerate(frame[name], 2)]
    return RunsTable(frame, list(axes))


def _truth(name: str, line: int, cell: str) -> bool:
    if cell not in ("True", "False", ""):
        raise ValueError(f"line {line}, column {name!r} has {cell!r}, not True or False")
    return cell == "True"


def _number(name: str, line: int, cell: str) -> float:
    try:
        return float(cell) if cell else math.nan
    except ValueError:
        raise ValueError(
            f"line {line}, column {name!r} has {cell!r}, which is not a number"
        ) from None
