"""Which checkpoints of ended runs a sweep keeps: `best` of the best few, `last` of none."""

from collections.abc import Callable, Iterable
from pathlib import Path

from hydra_plugins import _study_folder as folders
from hydra_plugins._study_record import Record


class Checkpoints:
    """Those of the sweep in `folder`.

    Args:
        folder: The sweep's folder.
        keep_best: Runs whose best.ckpt is kept; None keeps all of everything.
        ranking: Sorts records, the best first; None where several objectives rank nothing.
    """

    def __init__(
        self,
        folder: Path,
        keep_best: int | None,
        ranking: Callable[[Iterable[Record]], list[Record]] | None,
    ) -> None:
        self.folder, self.keep_best, self.ranking = folder, keep_best, ranking
        self._kept: list[Record] = []

    def know(self, records: Iterable[Record]) -> None:
        """Take in what had ended before."""
        if self.ranking is not None:
            self._kept = self.ranking(records)[: self.keep_best or 0]

    def tidy(self, record: Record) -> None:
        """Delete what is no longer needed now that `record` has ended."""
        if self.keep_best is None:
            return
        folders.delete(self.folder / record.folder, folders.LAST)
        if self.ranking is not None:
            rivals = {r.number: r for r in (*self._kept, record)}
            self._kept = self.ranking(rivals.values())[: self.keep_best]
            for dropped in rivals.keys() - {r.number for r in self._kept}:
                folders.delete(self.folder / rivals[dropped].folder, folders.BEST)
