"""trials.csv: one row a trial, true at every change."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra_plugins._study_folder import write_atomically
from hydra_plugins._study_outcome import as_floats
from hydra_plugins._study_record import Record


class TrialsCsv:
    """The file in `folder`.

    Args:
        folder: The sweep's folder.
        keys: The axes.
        objectives: How many there are.
    """

    def __init__(self, folder: Path, keys: Sequence[str], objectives: int) -> None:
        self.path, self.keys, self.objectives = folder / "trials.csv", keys, objectives
        self._rows: dict[int, str] = {}

    def take_in(self, record: Record) -> bool:
        """Note how a record stands; whether that is new."""
        row = self._row(record)
        changed = self._rows.get(record.number) != row
        self._rows[record.number] = row
        return changed

    def write(self) -> None:
        """Write it, whole."""
        several = [f"objective_{index}" for index in range(self.objectives)]
        names = ["objective"] if self.objectives == 1 else several
        head = _line(["number", "state", *self.keys, *names, "wall_s", "folder", "error"])
        write_atomically(self.path, head + "".join(self._rows[n] for n in sorted(self._rows)))

    def _row(self, record: Record) -> str:
        result = record.result
        values = {key.lstrip("+"): value for key, value in record.values.items()}
        found = as_floats(result.get("objective")) or []
        wall = result.get("wall_s")
        return _line(
            [
                record.number,
                record.state,
                *[values.get(key, "") for key in self.keys],
                *[*found, *[""] * self.objectives][: self.objectives],
                "" if wall is None else round(wall, 3),
                record.folder,
                result.get("error") or "",
            ]
        )


def read_csv(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a trials.csv by run folder; none when there is no such file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["folder"]: row for row in csv.DictReader(file)}
    except OSError:
        return {}


def _line(cells: Sequence[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
