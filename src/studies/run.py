"""One run of a sweep, as trials.csv and its folder tell it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra_plugins._study_folder import read_plain_yaml
from src.run_config import hparams
from src.run_folder import CONFIG, read_history, read_metrics

SEED = "seed"  # the axis over which cells are repeated, and their differences paired


@dataclass(frozen=True)
class Run:
    """One trial. `record` is its metrics.json, `config` its settings, flat; empty without them."""

    number: int
    state: str
    values: Mapping[str, str]  # of the axes, as on the command line
    error: str = ""
    objective: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, list[float]] = field(default_factory=dict)  # column -> a value an epoch
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether it may enter a statistic."""
        return self.state == "finished" and self.record.get("status") == "finished"

    @property
    def diverged(self) -> bool:
        """Whether its training loss ended as no number: worse than any other, not missing."""
        return self.state == "failed" and self.error.startswith("FloatingPointError")

    @property
    def seed(self) -> str:
        """What the run is paired by."""
        return str(self.values.get(SEED, self.record.get("seed", "")))


def read_run(folder: Path, row: Mapping[str, str], keys: list[str]) -> Run:
    """The run of a `row` of trials.csv, with its values of the axes `keys`."""
    place = folder / row["folder"]
    ended = read_metrics(place) or {}
    table = read_history(place) if ended else []
    config = place / CONFIG
    settings = read_plain_yaml(config) if config.exists() else {}
    parts = {key: part for key, part in settings.items() if isinstance(part, Mapping)}
    classes = {key: part["_target_"] for key, part in parts.items() if "_target_" in part}
    return Run(
        int(row["number"]),
        row["state"],
        {key: row[key] for key in keys},
        error=row.get("error") or str(ended.get("error") or ""),
        objective=row.get("objective") or row.get("objective_0", ""),
        record=ended,
        history={key: [float(line[key] or "nan") for line in table] for key in (table or [{}])[0]},
        config=hparams(settings) | classes,
    )
