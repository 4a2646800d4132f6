"""Read a sweep from its folder, and check that its runs can be compared."""

import logging
import math
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from alexlab.runs.config import hparams
from alexlab.runs.folder import CONFIG, METRICS, read_history, read_metrics
from hydra_plugins.hydra_study_sweeper.run_folder import read_plain_yaml
from hydra_plugins.hydra_study_sweeper.sweep_folder import SWEEP, TRIALS, read_sweep, read_trials

log = logging.getLogger(__name__)


def plain(value: Any) -> str:
    """Return the text of a value without quotes, and without the folders of a path."""
    return re.sub(r"[^\s,\[]*/", "", str(value).strip("'\"")) or str(value)


def is_number(text: str) -> bool:
    """Return whether `text` is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def same(one: Any, other: Any) -> bool:
    """Return whether two values of an axis are equal: 0.01 and "1e-2", true and "True"."""
    return canonical(one) == canonical(other)


def canonical(value: Any) -> str:
    """Return a value of an axis in one spelling: equal values have equal texts."""
    text = re.sub(r"[\s'\"]", "", str(value)).lower()
    return repr(float(text)) if is_number(text) else {"none": "null"}.get(text, text)


NOT_OF_RUNS = "sweep.", "hydra.", "hydra/", "data_dir", "cache_dir"  # settings that change no run
RECIPE = "recipe"  # the axis whose values are named sets of settings
ALL_RUNS = "all runs"  # the name of a single condition
SEED = "seed"  # the axis that repeats conditions and pairs differences


@dataclass(frozen=True)
class Run:
    """Trial with `record` (metrics.json) and `config` (flat settings); empty if missing."""

    number: int
    state: str
    values: Mapping[str, str]  # of the axes, as on the command line
    error: str = ""
    objective: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, list[float]] = field(default_factory=dict)  # column -> a value per epoch
    config: Mapping[str, Any] = field(default_factory=dict)
    identity: str = ""  # equal for trials of any sweep that train the same thing
    folder: Path | None = None

    @property
    def finished(self) -> bool:
        """Return whether the run finished, by both trials.csv and metrics.json."""
        return self.state == "finished" and self.record.get("status") == "finished"

    @property
    def diverged(self) -> bool:
        """Return whether the loss became NaN or infinite; such a run counts as guessing."""
        return self.state == "failed" and self.error.startswith("FloatingPointError")

    @property
    def seed(self) -> str:
        """Return the seed, by which runs are paired."""
        return str(self.values.get(SEED, self.record.get("seed", "")))


UNREADABLE = "unreadable"  # the state of a run with damaged files


def read_run(folder: Path, row: Mapping[str, str], keys: list[str]) -> Run:
    """Read the run of a `row` of trials.csv, with its values of the axes `keys`.

    A run with a damaged file is `UNREADABLE`; a warning is logged, and `error` names the file.

    Raises:
        ValueError: The row has no number.
    """
    try:
        return _read_run(folder, row, keys)
    except (ValueError, TypeError, AttributeError, LookupError, OSError) as error:
        if not str(row.get("number")).isdigit():
            raise ValueError(f"{folder / TRIALS}: damaged: a row without a number") from None
        problem = str(error) if str(folder) in str(error) else f"{folder / row['folder']}: {error}"
        log.warning(f"{problem}; this run counts as not finished")
        values = {key: row.get(key) or "" for key in keys}
        told = problem.removeprefix(f"{folder}/")
        return Run(int(row["number"]), UNREADABLE, values, error=told, folder=folder)


def _read_run(folder: Path, row: Mapping[str, str], keys: list[str]) -> Run:
    place = folder / row["folder"]
    ended = read_metrics(place) or {}
    if ended.get("status") == "finished":
        _check_record(ended, place / METRICS)
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
        identity=row.get("identity") or "",
        folder=place,
    )


def _check_record(record: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if a value in the metrics.json of a finished run has a wrong type."""
    for key, kind in {"metrics": Mapping, "versions": Mapping, "images": Mapping}.items():
        if not isinstance(record.get(key, {} if key != "metrics" else None), kind):
            raise ValueError(f"{path}: damaged: its {key} are {record.get(key)!r:.40}")
    for name, value in record["metrics"].items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise ValueError(f"{path}: damaged: {name} is {value!r:.40}, not a number")
    for name in ("wall_s", "epochs", "objective"):
        if not isinstance(record.get(name), int | float | list | None):
            raise ValueError(f"{path}: damaged: {name} is {record[name]!r:.40}, not a number")


# data.* settings that choose among the same images, or change how they are shown
VIEWS = {"batch_size", "resolution", "load_size", "fit", "cache", "representation", "fraction"}
VIEWS |= {"split", "split_seed", "val_fraction", "test_fraction"}


@dataclass(frozen=True)
class Sweep:
    """Sweep as read from sweep.yaml, trials.csv and the run folders of `folder`."""

    folder: Path
    facts: Mapping[str, Any]  # sweep.yaml
    about: Mapping[str, Any]  # the study; empty for a free sweep
    metric: str  # of the objective: "acc" for val/acc
    axes: list[str]  # without the seed
    varied: list[str]  # axes with more than one value
    runs: list[Run]
    done: list[Run]  # finished runs

    @property
    def study(self) -> str:
        """Return the name of the study."""
        return self.folder.name.removesuffix(f"-{self.setting}")

    @property
    def changed_by_hand(self) -> list[str]:
        """Return the settings of the command that differ from the study file.

        A setting that no finished run has is left out.
        """
        words = shlex.split(str(self.facts.get("command") or ""))
        typed = [word.partition("=") for word in words if "=" in word]
        changed = []
        for key, _, value in typed:
            name = key.lstrip("+")
            if name.startswith(NOT_OF_RUNS) or name in ("study", "scale"):
                continue
            ran = {str(run.config[name]) for run in self.done if name in run.config}
            if name in (*self.axes, SEED) or not ran or canonical(value) in map(canonical, ran):
                asked = {**(self.about.get("axes") or {}), **(self.about.get(self.setting) or {})}
                if name in asked and canonical(asked[name]) == canonical(value):
                    continue
                place = f" in place of {asked[name]}" if name in asked else ""
                changed.append(f"{name}={value}{place}")
        return changed if self.about else []

    @property
    def is_search(self) -> bool:
        """Return whether a sampler chose the values, so that there are no conditions to compare."""
        return bool(self.facts.get("search"))

    @property
    def setting(self) -> str:
        """Return the setting at which the study ran: published, tuned, tune or doubled."""
        return setting_of(self.facts)

    @property
    def question(self) -> str:
        """Return the question, or the name of a free sweep."""
        return self.about.get("question") or f"Sweep {self.folder.name}"

    @property
    def metrics(self) -> list[str]:
        """Return the metrics that every table shows."""
        return [f"{split}/{self.metric}" for split in ("test", "val", "train")]

    def label(self, values: Mapping[str, Any]) -> str:
        """Name `values` of axes in short: "relu", "lr 0.01", "pool max, stride 2"."""
        return name_condition(values, self.axes, self.varied)


def setting_of(facts: Mapping[str, Any]) -> str:
    """Return the setting of a sweep.yaml: published, tuned, tune or doubled."""
    scale = str(facts.get("scale") or "")
    return "tuned" if scale in ("", "full") else scale


def name_condition(values: Mapping[str, Any], axes: list[str], varied: list[str]) -> str:
    """Name `values` of axes in short: "relu", "lr 0.01", "pool max, stride 2"."""
    shown = {axis: v for axis, v in values.items() if axis in varied} or values
    short = Counter(axis.split(".")[-1] for axis in axes)
    names = {a: a.split(".")[-1] if short[a.split(".")[-1]] < 2 else a for a in shown}
    words = [(names[axis], plain(value)) for axis, value in shown.items()]
    bare = words[0][1] if len(words) == 1 else ""
    if bare and not is_number(bare) and bare.lower() not in ("true", "false", "null", "none"):
        return bare
    return ", ".join(" ".join(pair) for pair in words) or ALL_RUNS


def axis_values(axis: Any) -> list[str]:
    """Return the values of an axis of a study file: "a, b", [a, b], range(5) or range(0, 5)."""
    if isinstance(axis, list | tuple):
        return [str(value) for value in axis]
    text = str(axis)
    if found := re.fullmatch(r"\s*range\((\d+)(?:,\s*(\d+))?\)\s*", text):
        first, last = (0, found[1]) if found[2] is None else (found[1], found[2])
        return [str(n) for n in range(int(first), int(last))]
    return [value.strip() for value in text.split(",") if value.strip()]


def load(folder: Path) -> Sweep:
    """Read the sweep in `folder`.

    Raises:
        FileNotFoundError: The folder is not a sweep.
        ValueError: Its runs cannot be compared, or sweep.yaml or trials.csv is damaged.
    """
    for name in ("sweep.yaml", "trials.csv"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is not a sweep: it has no {name}")
    facts, rows = read_sweep(folder), read_trials(folder)
    kinds = {"axes": Mapping, "directions": list, "about": Mapping | None, "config": Mapping | None}
    for key, kind in kinds.items():
        if not isinstance(facts.get(key), kind) or (key == "directions" and not facts[key]):
            raise ValueError(f"{folder / SWEEP}: damaged: its {key} are {facts.get(key)!r:.40}")
    keys = [key for key in facts["axes"] if rows and key in rows[0]]
    axes = [key for key in keys if key != SEED]
    runs = [read_run(folder, row, keys) for row in rows]
    done = [run for run in runs if run.finished]
    _check_comparable(done)
    about, config = facts.get("about") or {}, facts.get("config") or {}
    sweep = Sweep(
        folder.absolute(),
        facts,
        about,
        metric=config.get("objective", "val/acc").split("/")[-1],
        axes=axes,
        varied=[axis for axis in axes if len({run.values[axis] for run in runs}) > 1],
        runs=runs,
        done=done,
    )
    changed = {text.partition("=")[0] for text in sweep.changed_by_hand}
    if changed <= {SEED, RECIPE}:
        return sweep
    # what twice the epochs gain was measured with the settings of the study file
    return replace(sweep, about={key: about[key] for key in about if key != "converged"})


def _check_comparable(runs: list[Run]) -> None:
    """Raise ValueError if the data, torch's major version or a setting besides the axes differs."""
    alike: dict[tuple[str, ...], Run] = {}
    for run in runs:
        other = alike.setdefault(tuple(run.values.values()), run)
        if run.identity and other.identity and run.identity != other.identity:
            keys = sorted(run.config.keys() | other.config.keys())
            found = [k for k in keys if run.config.get(k) != other.config.get(k)]
            raise ValueError(
                f"runs cannot be compared: trials {other.number} and {run.number} have the same"
                f" values of all axes and differ in {', '.join(found[:3]) or 'a setting'}; make it"
                " an axis of the sweep"
            )
    first: dict[str, tuple[str, int]] = {}
    for run in runs:
        data = {key[5:]: value for key, value in run.config.items() if key.startswith("data.")}
        images = {key: value for key, value in sorted(data.items()) if key not in VIEWS}
        of_data = f"the fingerprint of {data.get('name', 'the data')}"
        torch = str(run.record.get("versions", {}).get("torch", "?")).split(".")[0]
        for what, among, value in (
            ("torch's major version", "", torch),
            (of_data, str(images), str(run.record.get("data_fingerprint"))),
        ):
            before, number = first.setdefault(what + among, (value, run.number))
            if value != before:
                raise ValueError(
                    f"runs cannot be compared: {what} is {before} in trial {number}, {value} in"
                    f" trial {run.number}; use one sweep for each"
                )
