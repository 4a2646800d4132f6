"""Take the results of trials that other sweeps have: each identity is trained once.

A finished run of a sweep beside this one is copied into this sweep; its checkpoints are hard links.
So either of the two sweeps can be deleted without a loss for the other.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from hydra_plugins.hydra_study_sweeper import run_folder
from hydra_plugins.hydra_study_sweeper._composer import drop_keys
from hydra_plugins.hydra_study_sweeper._results import TrialResult, resolve_status
from hydra_plugins.hydra_study_sweeper._space import short_hash
from hydra_plugins.hydra_study_sweeper._trials import Trial
from hydra_plugins.hydra_study_sweeper.sweep_folder import SWEEP, TRIALS, read_sweep, read_trials

TEMPORARY = ".reused"  # in the sweep's folder: runs that are being copied
PARTIAL = "partial"  # in metrics.json: what the app knows may lack numbers that other sweeps use
KnownResult = Callable[[str, Mapping[str, Any]], dict[str, Any] | None]


class SharedResults:
    """The finished runs of the sweeps beside this one, and results that the app knows.

    Args:
        folder: This sweep's folder; the others are beside it.
        sweep: The content of this sweep's sweep.yaml.
        ignore: Keys of a config that are not part of its identity.
        compose: Makes the config of a trial from its values.
        known: Function(identity, `sweep`) -> the content of a metrics.json that the app knows, or
            None.
        fits: Function(trial, result) -> whether it has the data of this sweep's other trials.
        needs_weights: Whether to take only runs that have a best.ckpt.
    """

    def __init__(
        self,
        folder: Path,
        sweep: Mapping[str, Any],
        ignore: Sequence[str],
        compose: Callable[[Mapping[str, str]], dict[str, Any]],
        known: KnownResult | None,
        fits: Callable[[Trial, TrialResult], bool],
        *,
        needs_weights: bool,
    ) -> None:
        self.folder, self.sweep, self.ignore = folder, sweep, ignore
        self.compose, self.known, self.fits = compose, known, fits
        self.needs_weights = needs_weights
        # sweep -> time of change of its trials.csv, and the table that `_table` returns
        self._tables: dict[Path, tuple[int, dict[str, list[str]]]] = {}

    def take(self, trial: Trial) -> str | None:
        """Fill the trial's run folder with a known result, and return the result's origin.

        Returns:
            SWEEP/RUN, or the origin that the app gives; None if there is no such result, or if the
            run has begun.
        """
        target = self.folder / trial.folder
        self._clean(self.folder / TEMPORARY / target.name)  # a sweeper was killed while it copied
        if target.exists():
            return None
        for source in self._sources(trial):
            origin = f"{source.parent.name}/{source.name}"
            try:
                metrics = run_folder.read_metrics(source) or {}
                self._fill(target, source, metrics, origin)
            except (OSError, ValueError):  # it is being removed, or the disk is full: train it
                self._clean(self.folder / TEMPORARY / target.name)
                continue
            return origin
        content = self.known(trial.identity, self.sweep) if self.known is not None else None
        if content is None or self.needs_weights or not self._is_usable(trial, content):
            return None
        origin = str(content.get("reused_from"))
        self._fill(target, None, {**content, PARTIAL: True}, origin)
        config = OmegaConf.to_yaml(OmegaConf.create(self.compose(trial.values)))
        run_folder.write_atomically(target / run_folder.CONFIG, config)
        return origin

    def _is_usable(self, trial: Trial, metrics: dict[str, Any]) -> bool:
        """Return whether a result that the app knows has all objectives, on the same data."""
        objectives = run_folder.as_floats(metrics.get("objective")) or []
        return len(objectives) == len(self.sweep["directions"]) and self.fits(trial, metrics)

    def _sources(self, trial: Trial) -> list[Path]:
        """Return the finished runs with this trial's identity, on the same data."""
        found = []
        for other in sorted(self.folder.parent.glob(f"*/{SWEEP}")):
            if other.parent == self.folder:
                continue
            folders = self._table(other.parent).get(trial.identity, [])
            places = [other.parent / name for name in folders]
            found += [place for place in places if self._has_result_of(place, trial)]
        return found

    def _table(self, sweep: Path) -> dict[str, list[str]]:
        """Return the folders of a sweep's finished trials by identity; none if not readable."""
        try:
            changed = (sweep / TRIALS).stat().st_mtime_ns
            if self._tables.get(sweep, (None,))[0] != changed:
                table: dict[str, list[str]] = {}
                for row in read_trials(sweep):
                    if row.get("state") == "finished":
                        table.setdefault(str(row.get("identity")), []).append(row["folder"])
                self._tables[sweep] = changed, table
            return self._tables[sweep][1]
        except (OSError, ValueError):
            return {}

    def _has_result_of(self, place: Path, trial: Trial) -> bool:
        """Return whether a run finished, with this trial's identity and the data of this sweep."""
        try:
            content = run_folder.read_plain_yaml(place / run_folder.CONFIG)
            marks = read_sweep(place.parent)["fingerprint"]
        except (OSError, ValueError, KeyError):
            return False
        result = resolve_status(place, None, len(self.sweep["directions"]))
        here = self.sweep["fingerprint"]
        return (
            result["status"] == "finished"
            and not (run_folder.read_metrics(place) or {}).get(PARTIAL)
            and self.fits(trial, result)
            and isinstance(marks, dict)
            and short_hash(drop_keys(content, self.ignore)) == trial.identity
            and all(marks[key] == here[key] for key in marks.keys() & here.keys())
            and (not self.needs_weights or (place / run_folder.BEST).is_file())
        )

    def _fill(
        self, target: Path, source: Path | None, metrics: dict[str, Any], origin: str
    ) -> None:
        """Make the run folder `target` by one rename, with the files of `source` if given."""
        temporary = self.folder / TEMPORARY / target.name
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        if source is not None:
            _copy_files(source, temporary)
            if self.needs_weights:  # raises if best.ckpt was a symbolic link, which is not copied
                (temporary / run_folder.BEST).stat()
        text = json.dumps({**metrics, "reused_from": origin}, indent=2) + "\n"
        run_folder.write_atomically(temporary / run_folder.METRICS, text)
        os.replace(temporary, target)
        self._clean(temporary)

    def _clean(self, temporary: Path) -> None:
        """Delete a temporary copy, and the folder of all such copies if it is empty."""
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: another run is being copied
            temporary.parent.rmdir()


def _copy_files(source: Path, target: Path) -> None:
    """Copy the regular files of a run; link its checkpoints, which no program writes in place."""
    for path, _, names in os.walk(source, onerror=_raise):
        place = target / os.path.relpath(path, source)
        place.mkdir(exist_ok=True)
        for name in names:
            file = Path(path, name)
            if name == run_folder.LOCK or file.is_symlink() or not file.is_file():
                continue
            if file.suffix == run_folder.BEST.suffix:
                try:
                    os.link(file, place / name)
                    continue
                except OSError:  # another file system, or one without links
                    pass
            shutil.copy2(file, place / name)


def _raise(error: OSError) -> None:
    """Raise an error of `os.walk`, which ignores errors by default."""
    raise error
