"""Read the parts of a study at a setting: published, tuned, tune or doubled.

`published` uses the article's own numbers. `tune` tries the rates that a study lists, on seeds that
are never analysed; `tuned` uses the best of them; `doubled` checks convergence with twice the
epochs, on the seeds of `tune`. The claims are answered at `published` and `tuned`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from alexlab.runs.config import CONF
from alexlab.runs.extensions import installed_folders
from alexlab.studies.results import ALL_RUNS, SEED

PUBLISHED, TUNED, TUNE, DOUBLED = "published", "tuned", "tune", "doubled"
NOT_ANALYSED = TUNE, DOUBLED  # no claim is answered from their runs
TUNING_SEEDS = "1000, 1001, 1002"
LOOKS = {TUNED: [5, 10, 20, 40], PUBLISHED: [5, 10]}  # seeds at which claims are answered
EPOCHS = "trainer.max_epochs"
TUNED_FILE = "tuned.yaml"  # in the folder of a tuning sweep


def shipped_file(study: str) -> Path:
    """Return the file with the chosen rates of a study, in conf/ or in the study's own package."""
    for folder in installed_folders():
        if (folder / "study" / f"{study}.yaml").is_file():
            return folder / "study" / "tuned" / f"{study}.yaml"
    return CONF / "study" / "tuned" / f"{study}.yaml"


def read_tuned(study: str, sweeps: Path) -> dict[str, Any]:
    """Return the chosen settings of a study; empty if it is not tuned.

    A recipe that the tuning sweep in `sweeps` lacks has those of conf/.
    """
    found: dict[str, Any] = {}
    for file in (shipped_file(study), sweeps / f"{study}-{TUNE}" / TUNED_FILE):
        if file.is_file():
            found = merge_tuned(found, yaml.safe_load(file.read_text("utf-8")) or {})
    return found


def merge_tuned(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of two tuned.yaml; a recipe that both have is that of `new`."""
    found = {**old, **new}
    if recipes := {**(old.get("recipes") or {}), **(new.get("recipes") or {})}:
        found["recipes"] = recipes
    chosen_again = {*(new.get("recipes") or {}), *([ALL_RUNS] if new.get("settings") else [])}
    gains = {k: v for k, v in (old.get("converged") or {}).items() if k not in chosen_again}
    if gains := gains | (new.get("converged") or {}):
        found["converged"] = gains
    else:
        found.pop("converged", None)
    return found


def overrides_at(
    setting: str, study: Mapping[str, Any], name: str, sweeps: Path
) -> dict[str, Any] | None:
    """Return the overrides of a study at a setting.

    Raises:
        ValueError: The study has nothing to tune, or is not tuned, or sets no epochs to double.
    """
    if setting == PUBLISHED:
        return dict(study.get(PUBLISHED) or {}) or None
    found = dict(study.get(TUNED) or {})
    if setting == TUNE:
        if not study.get(TUNE):
            raise ValueError(
                f"scale=tune: study={name} has nothing to tune; use scale=tuned or scale=published"
            )
        return found | dict(study[TUNE]) | {SEED: TUNING_SEEDS}
    chosen = read_tuned(name, sweeps)
    found |= chosen.get("settings") or {}
    if setting == DOUBLED:
        if study.get(TUNE) and not chosen:
            raise ValueError(f"scale=doubled: study={name} has no rates; run scale=tune first")
        recipes = recipes_at(TUNED, study, name, sweeps) or {}
        if not any(EPOCHS in part for part in (found, *recipes.values())):
            raise ValueError(
                f"scale=doubled: study={name} sets no {EPOCHS} to double; write it below `tuned`"
            )
        return _doubled(found) | {SEED: TUNING_SEEDS}
    return found or None


def recipes_at(
    setting: str, study: Mapping[str, Any], name: str, sweeps: Path
) -> dict[str, Any] | None:
    """Return the recipes of a study at a setting, with the chosen rates at tuned and doubled."""
    recipes = {key: dict(value) for key, value in (study.get("recipes") or {}).items()}
    if setting != PUBLISHED:
        recipes |= {key: dict(value) for key, value in (study.get("tuned_recipes") or {}).items()}
    if setting in (TUNED, DOUBLED):
        for key, chosen in (read_tuned(name, sweeps).get("recipes") or {}).items():
            if key in recipes:
                recipes[key] = recipes[key] | dict(chosen)
    if setting == DOUBLED:
        recipes = {key: _doubled(value) for key, value in recipes.items()}
    return recipes or None


def _doubled(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: 2 * value if key == EPOCHS else value for key, value in settings.items()}


def study_at(setting: str, study: Mapping[str, Any], name: str, sweeps: Path) -> dict[str, Any]:
    """Return the study as sweep.yaml stores it, with the tuned settings that the sweep uses."""
    found = dict(study)
    if setting != PUBLISHED and study.get("tuned_trained"):
        found["trained"] = study["tuned_trained"]  # other images, or another metric
    if setting == TUNED and (tuned := read_tuned(name, sweeps)):
        found["chosen"] = tuned
        found["converged"] = tuned.get("converged") or {}
    return found


def stages_at(
    setting: str, study: Mapping[str, Any], name: str, sweeps: Path
) -> dict[str, Any] | None:
    """Return the stages of a sweep, which are the looks at its seeds; None if it has no looks."""
    if setting in NOT_ANALYSED or not study.get("claims"):
        return None
    return {"axis": SEED, "counts": planned_looks(study, setting)}


def planned_looks(study: Mapping[str, Any], setting: str) -> list[int]:
    """Return the looks of a study as numbers of seeds, from its file or by default."""
    asked = (study.get("looks") or {}).get(setting) or LOOKS.get(setting, [5])
    return [int(n) for n in asked]


PARTS = {
    "overrides": overrides_at,
    "recipes": recipes_at,
    "study": study_at,
    "stages": stages_at,
}
"""The parts of a study at a scale, for `${study_at:PART}` in conf/hydra/sweeper/study.yaml."""
