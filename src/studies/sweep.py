"""A sweep as its folder tells it: the question, the axes, the runs, and whether they compare."""

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_plugins._study_folder import read_plain_yaml
from src.studies.run import SEED, Run, read_run
from src.studies.values import is_number, plain

# data.* settings that choose among the same images, or change how they are shown
VIEWS = {"batch_size", "resolution", "load_size", "fit", "cache", "representation", "fraction"}
VIEWS |= {"split", "split_seed", "val_fraction", "test_fraction"}


@dataclass(frozen=True)
class Sweep:
    """What sweep.yaml, trials.csv and the run folders of `folder` say."""

    folder: Path
    facts: Mapping[str, Any]  # sweep.yaml
    about: Mapping[str, Any]  # the study; empty for a free sweep
    level: float  # of its tests
    quick: bool  # whether it ran at quick scale
    metric: str  # what the runs were chosen by: "acc" for an objective val/acc
    axes: list[str]  # with several values or not, without the seed
    varied: list[str]  # those of them that take more than one value
    runs: list[Run]
    done: list[Run]  # those that finished

    @property
    def study(self) -> str:
        """The study's name."""
        return self.folder.name.removesuffix("-quick")

    @property
    def question(self) -> str:
        """What it asks, or its name."""
        return self.about.get("question") or f"Sweep {self.folder.name}"

    @property
    def confidence(self) -> str:
        """Of its intervals, in percent."""
        return f"{100 * (1 - self.level):g}%"

    @property
    def words(self) -> list[str]:
        """The numbers that every table shows."""
        return [f"{split}/{self.metric}" for split in ("test", "val", "train")]

    def label(self, values: Mapping[str, Any]) -> str:
        """`values` of axes in short: "relu", "lr 0.01", "pool max, stride 2"."""
        shown = {axis: v for axis, v in values.items() if axis in self.varied} or values
        short = Counter(axis.split(".")[-1] for axis in self.axes)
        names = {a: a.split(".")[-1] if short[a.split(".")[-1]] < 2 else a for a in shown}
        words = [(names[axis], plain(value)) for axis, value in shown.items()]
        bare = words[0][1] if len(words) == 1 else ""
        if bare and not is_number(bare) and bare.lower() not in ("true", "false", "null", "none"):
            return bare
        return ", ".join(" ".join(pair) for pair in words) or "all runs"


def load(folder: Path) -> Sweep:
    """Read the sweep in `folder`.

    Raises:
        FileNotFoundError: It is no sweep.
        ValueError: Its runs cannot be compared.
    """
    for name in ("sweep.yaml", "trials.csv"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no sweep: it has no {name}")
    facts = read_plain_yaml(folder / "sweep.yaml", interpolations=True)
    with (folder / "trials.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keys = [key for key in facts["axes"] if rows and key in rows[0]]
    axes = [key for key in keys if key != SEED]
    runs = [read_run(folder, row, keys) for row in rows]
    done = [run for run in runs if run.finished]
    _check_comparable(done)
    about, config = facts.get("about") or {}, facts.get("config") or {}
    return Sweep(
        folder.absolute(),
        facts,
        about,
        level=float(about.get("level", 0.05)),
        quick=facts.get("scale") == "quick",
        metric=config.get("objective", "val/acc").split("/")[-1],
        axes=axes,
        varied=[axis for axis in axes if len({run.values[axis] for run in runs}) > 1],
        runs=runs,
        done=done,
    )


def _check_comparable(runs: list[Run]) -> None:
    """ValueError when runs of the same data settings saw other data, or another major torch."""
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
                    f"runs that do not compare: {what} is {before} in trial {number}, {value} in"
                    f" trial {run.number}; put the runs of one kind into a sweep of their own"
                )
