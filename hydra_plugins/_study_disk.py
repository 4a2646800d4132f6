"""What a sweep takes of the disk, and whether there is so much."""

import shutil
from pathlib import Path

from hydra_plugins._study_composer import Composer
from hydra_plugins._study_entries import Entries
from hydra_plugins._study_folder import size
from hydra_plugins._study_settings import StudySweeperConf, load


def needed(
    settings: StudySweeperConf, entries: Entries, composer: Composer, jobs: int, to_run: int
) -> int | None:
    """Bytes for `to_run` runs, as the last that ended took, or as the project estimates."""
    if not to_run:
        return 0
    ended = [r for r in entries.records.values() if r.state == "finished"][-20:]
    if ended:
        return sum(size(entries.folder / r.folder) for r in ended) * to_run // len(ended)
    estimate = load(settings.estimate)
    if estimate is None:
        return None
    under_way, when_ended = estimate(composer.full(next(composer.space.grid())))
    return int(under_way * jobs + when_ended * to_run)


def refuse_if_full(folder: Path, disk: int | None) -> None:
    """ValueError where `disk` bytes are not free."""
    if disk is not None and disk > (free := shutil.disk_usage(folder).free):
        raise ValueError(
            f"the sweep needs about {disk / 1e9:.3g} GB, and {free / 1e9:.3g} are free"
        )
