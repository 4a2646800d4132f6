"""Choose the rate of each condition with tuning seeds, and apply it at the setting `tuned`.

`scale=tune` runs the rates that a study lists below `tune`, on seeds that are never analysed. The
best rate of each recipe goes to conf/study/tuned/STUDY.yaml, which `scale=tuned` applies.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from alexlab.runs.config import CONF
from alexlab.studies.results import Sweep, axis_values

TUNING_SEEDS = "1000, 1001, 1002"
RECIPE = "recipe"


def tuned_file(study: str) -> Path:
    """Return the file with the rates of a study."""
    return CONF / "study" / "tuned" / f"{study}.yaml"


def read_tuned(study: str) -> dict[str, Any]:
    """Return the chosen settings of a study by recipe; empty if it has not been tuned."""
    file = tuned_file(study)
    found = yaml.safe_load(file.read_text("utf-8")) if file.is_file() else None
    return dict(found or {})


def overrides_at(setting: str, study: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return the overrides of a study at a setting: tuned, tune or published."""
    if setting == "published":
        return dict(study.get("published") or {}) or None
    found = dict(study.get("tuned") or {})
    if setting == "tuned":
        return found | (read_tuned(name).get("settings") or {}) or None
    if not study.get("tune"):
        raise ValueError(
            f"scale=tune: study={name} has nothing to tune; use scale=tuned or scale=published"
        )
    return found | dict(study["tune"]) | {"seed": TUNING_SEEDS}


def recipes_at(setting: str, study: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return the recipes of a study at a setting, with the chosen rates at `tuned`."""
    recipes = {key: dict(value) for key, value in (study.get("recipes") or {}).items()}
    if setting != "published":
        recipes |= {key: dict(value) for key, value in (study.get("tuned_recipes") or {}).items()}
    if setting == "tuned":
        for key, chosen in (read_tuned(name).get("recipes") or {}).items():
            if key in recipes:
                recipes[key] = recipes[key] | dict(chosen)
    return recipes or None


def study_at(setting: str, study: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what a sweep keeps of its study: with the tuning that its setting used."""
    found = dict(study)
    if setting == "tuned" and (tuned := read_tuned(name)):
        found["chosen"] = tuned
        found["converged"] = tuned.get("converged") or {}
    return found


PARTS = {"overrides": overrides_at, "recipes": recipes_at, "study": study_at}
"""The parts of a study at a scale, for `${study_at:PART}` in conf/hydra/sweeper/study.yaml."""


def chosen_rates(sweep: Sweep) -> dict[str, Any]:
    """Return the best settings of each recipe of a tuning sweep, by the mean of its objective.

    Raises:
        ValueError: No recipe has a finished run at every rate.
    """
    tuned = [axis for axis in sweep.axes if axis in (sweep.about.get("tune") or {})]
    maximize = sweep.facts["directions"][0] == "maximize"
    scores: dict[str, dict[tuple[str, ...], list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in sweep.runs:
        key = tuple(run.values[axis] for axis in tuned)
        bad = -math.inf if maximize else math.inf
        value = float(run.objective) if run.finished and run.objective else bad
        scores[run.values.get(RECIPE, "")][key].append(value)
    chosen, edges = {}, []
    for recipe, by_rate in scores.items():
        means = {key: sum(values) / len(values) for key, values in by_rate.items()}
        best = (max if maximize else min)(means, key=lambda key: means[key])
        if not math.isfinite(means[best]):
            raise ValueError(f"recipe={recipe}: no rate has finished at every tuning seed")
        chosen[recipe] = dict(zip(tuned, map(_number, best), strict=True))
        for axis, text in zip(tuned, best, strict=True):
            tried = axis_values((sweep.about.get("tune") or {})[axis])
            if len(tried) > 1 and text in (tried[0], tried[-1]):
                edges.append(f"{recipe or 'all'}: {axis}={text}")
    found: dict[str, Any] = {"recipes": {k: v for k, v in chosen.items() if k}}
    found["settings"] = chosen.get("", {})
    found["at_the_edge"] = edges
    return found


def _number(text: str) -> Any:
    return yaml.safe_load(text) if "e" not in text else float(text)


def write_tuned(sweep: Sweep, file: Path) -> list[str]:
    """Write the chosen settings of a finished tuning sweep; return those at the edge of the grid.

    Raises:
        ValueError: A recipe has no rate that finished.
    """
    found = chosen_rates(sweep)
    edges: list[str] = found.pop("at_the_edge")
    head = (
        f"# Chosen by scale=tune from {len(sweep.runs)} runs, by the mean val/{sweep.metric}\n"
        f"# over seeds {TUNING_SEEDS}, which are never analysed.\n"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({k: v for k, v in found.items() if v}, sort_keys=False)
    file.write_text(head + text, "utf-8")
    return edges
