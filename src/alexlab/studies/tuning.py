"""Choose the best settings of each recipe with tuning seeds, and measure convergence.

The best rate of each recipe goes to tuned.yaml in the folder of the tuning sweep and, in a
checkout, to conf/study/tuned/STUDY.yaml; `scale=tuned` applies it.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from alexlab.reporting.formatting import less_is_better
from alexlab.runs.config import CONF, config_folders
from alexlab.runs.folder import write_atomically
from alexlab.studies.comparisons import gain_key
from alexlab.studies.conditions import group_by_condition
from alexlab.studies.metrics import metric_value
from alexlab.studies.results import RECIPE, Run, Sweep, is_number, load, same
from alexlab.studies.setting import TUNE, TUNED_FILE, TUNING_SEEDS, merge_tuned, shipped_file
from alexlab.studies.validity import read_gate


def chosen_rates(sweep: Sweep) -> dict[str, Any]:
    """Return the best settings of each recipe of a tuning sweep, by the mean of the objective.

    Raises:
        ValueError: A recipe has no rate at which every run finished.
    """
    tuned = _tuned_settings(sweep)
    maximize = sweep.facts["directions"][0] == "maximize"
    scores: dict[str, dict[tuple[str, ...], list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in sweep.runs:
        key = tuple(run.values.get(axis, text) for axis, text in tuned.items())
        bad = -math.inf if maximize else math.inf
        value = float(run.objective) if run.finished and run.objective else bad
        scores[run.values.get(RECIPE, "")][key].append(value)
    chosen, edges = {}, []
    for recipe, by_rate in scores.items():
        means = {key: mean(values) for key, values in by_rate.items()}
        best = (max if maximize else min)(means, key=lambda key: means[key])
        if not math.isfinite(means[best]):
            raise ValueError(f"recipe={recipe}: no rate has finished at every tuning seed")
        chosen[recipe] = dict(zip(tuned, map(_number, best), strict=True))
        for axis, text in zip(tuned, best, strict=True):
            tried = sorted({run.values.get(axis, text) for run in sweep.runs}, key=_order)
            if len(tried) > 1 and text in (tried[0], tried[-1]):
                edges.append(f"{recipe or 'all'}: {axis}={text}")
    found: dict[str, Any] = {"recipes": {k: v for k, v in chosen.items() if k}}
    found["settings"] = chosen.get("", {})
    found["at_the_edge"] = edges
    return found


def _tuned_settings(sweep: Sweep) -> dict[str, str]:
    """Return {setting that scale=tune chooses: its value in a run}; only an axis has several."""
    config: Mapping[str, Any] = next((run.config for run in sweep.done if run.config), {})
    return {
        key: str(config.get(key))
        for key in sweep.about.get(TUNE) or {}
        if key in sweep.axes or ("." in key and key in config)  # not the class of a group
    }


def _order(text: str) -> tuple[float, str]:
    """Return the sort key of a value: numbers by size, before other texts."""
    return (float(text), "") if is_number(text) else (math.inf, text)


def _number(text: str) -> Any:
    return yaml.safe_load(text) if "e" not in text else float(text)


def write_tuned(sweep: Sweep) -> list[str]:
    """Write the chosen settings of a finished tuning sweep; return those at the edge of the grid.

    Raises:
        ValueError: See `chosen_rates`.
    """
    found = chosen_rates(sweep)
    edges: list[str] = found.pop("at_the_edge")
    _write(sweep, sweep.folder / TUNED_FILE, found)
    return edges


def write_converged(sweep: Sweep) -> dict[str, float]:
    """Write the gain on val from doubled epochs, by condition, beside the chosen rates.

    The gain is the mean over tuning seeds of the metric in the section `trained`, minus that of the
    runs with half the epochs; positive is better.

    Raises:
        FileNotFoundError: The tuning sweep is not beside this one.
        ValueError: The study has no section `trained`.
    """
    gate = read_gate(sweep.about)
    if gate is None:
        raise ValueError("the study file has no section `trained`")
    short = load(sweep.folder.parent / f"{sweep.study}-{TUNE}")
    file = short.folder / TUNED_FILE
    chosen = yaml.safe_load(file.read_text("utf-8"))
    sign = -1 if less_is_better(gate.metric) else 1

    def at_chosen_rate(run: Run) -> bool:
        recipe = run.values.get(RECIPE, "")
        rates = {**(chosen.get("settings") or {}), **(chosen.get("recipes") or {}).get(recipe, {})}
        return all(same(run.values.get(axis, rate), rate) for axis, rate in rates.items())

    gains = {}
    for condition in group_by_condition(sweep):
        axes = condition.values.items()
        before = [
            run
            for run in filter(at_chosen_rate, short.done)
            if all(run.values.get(axis) == value for axis, value in axes)
        ]
        if condition.runs and before:
            values = [
                mean(metric_value(run, gate.metric) for run in runs)
                for runs in (condition.runs, before)
            ]
            key = gain_key(condition.label, condition.values)
            gains[key] = round(sign * (values[0] - values[1]), 4)
    _write(short, file, {**chosen, "converged": gains})
    return gains


def _write(sweep: Sweep, file: Path, content: dict[str, Any]) -> None:
    """Write the chosen settings; in a checkout also to conf/, for studies of this project.

    The file in conf/ keeps the recipes that this sweep does not have.
    """
    write_atomically(file, _as_text(sweep, content))
    name = Path("study", f"{sweep.study}.yaml")
    others = [folder for folder in config_folders()[1:] if (folder / name).is_file()]
    if (CONF.parent / "pyproject.toml").is_file() and not others:  # not an installed package
        shipped = shipped_file(sweep.study)
        shipped.parent.mkdir(parents=True, exist_ok=True)
        before = yaml.safe_load(shipped.read_text("utf-8")) if shipped.is_file() else None
        write_atomically(shipped, _as_text(sweep, merge_tuned(before or {}, content)))


def _as_text(sweep: Sweep, content: Mapping[str, Any]) -> str:
    """Return the chosen settings as a tuned.yaml, with comments that say what they are."""
    head = (
        f"# Chosen by scale=tune, by the mean val/{sweep.metric}\n"
        f"# over seeds {TUNING_SEEDS}, which are never analysed.\n"
    )
    if "converged" in content:
        head += "# converged: gain on val from twice the epochs, with the same seeds.\n"
    body: str = yaml.safe_dump({k: v for k, v in content.items() if v}, sort_keys=False)
    return head + body
