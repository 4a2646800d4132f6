"""How a run ended, all things considered: its own word, its launcher's, the clock, the data."""

from collections.abc import Sequence
from typing import Any

from hydra_plugins import _study_folder as folders
from hydra_plugins._study_ledger import Ledger
from hydra_plugins._study_outcome import outcome
from hydra_plugins._study_record import ENDED, Record
from hydra_plugins._study_settings import StudySweeperConf


class Judge:
    """Judges the runs of a sweep.

    Args:
        settings: The sweeper's.
        groups: The axes that are config groups.
        ledger: Knows the runs before.
    """

    def __init__(self, settings: StudySweeperConf, groups: Sequence[str], ledger: Ledger) -> None:
        self.settings, self.groups, self.ledger = settings, groups, ledger
        self.folder = ledger.folder
        self.other_data: str | None = None  # what is wrong with the data, once that is so
        self._data: dict[tuple[str, ...], tuple[str, str]] = {}

    def outcome(self, record: Record, result: Any = None) -> dict[str, Any]:
        """What the run says of itself, or else its launcher (`result`)."""
        return outcome(self.folder / record.folder, result, len(self.ledger.study.directions))

    def settled(self, record: Record) -> dict[str, Any] | None:
        """How a run ended, if it did without its sweeper: None when there is more to do."""
        metrics = folders.read_metrics(self.folder / record.folder)
        if metrics is None or metrics["status"] not in ENDED:
            return None
        return self.outcome(record)

    def judge(self, record: Record, result: Any, late: bool) -> dict[str, Any]:
        """The end that counts; one that the run did not write itself is written to its folder."""
        end = self.outcome(record, result)
        if late:
            told = f"ran past timeout_s={self.settings.timeout_s:g} and was ended"
            end = {**end, "status": "failed", "error": told}
        elif end["status"] == "finished" and (wrong := self._wrong_data(record, end)):
            self.other_data = wrong
            end = {**end, "status": "failed", "error": wrong}
        if end["status"] == "failed":
            folders.record_failure(self.folder / record.folder, end["error"])
        return end

    def _wrong_data(self, record: Record, end: dict[str, Any]) -> str | None:
        """How the run's data differ from those of the runs before it, if they do."""
        found = end.get("data_fingerprint")
        if found is None:
            return None
        if not self._data:
            for known in self.ledger.records.values():
                if known.state == "finished" and known.result.get("data_fingerprint"):
                    about = (known.result["data_fingerprint"], known.folder)
                    self._data.setdefault(self._place(known), about)
        before, where = self._data.setdefault(self._place(record), (found, record.folder))
        if before == found:
            return None
        return f"the data changed: {found} in {record.folder}, {before} in {where}"

    def _place(self, record: Record) -> tuple[str, ...]:
        """The values that may decide what a run's data are: group choices, axes of the data."""
        below = f"{self.settings.data_key}."
        return tuple(
            value
            for key, value in record.values.items()
            if key in self.groups or key.lstrip("+").startswith(below)
        )
