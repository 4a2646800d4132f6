"""Write sweep folders by hand, with the files of a real sweep."""

import csv
import itertools
import json
from pathlib import Path

import pytest
import yaml

BASE = {
    "model": {"_target_": "alexlab.models.alexnet.AlexNet", "dropout": 0.5},
    "data": {
        "_target_": "alexlab.data.datamodule.ImageFolderData",
        "name": "shapes",
        "resolution": 64,
    },
    "optim": {"_target_": "torch.optim.SGD", "lr": 0.01},
    "act": "relu",
    "trainer": {"max_epochs": 4},
}
RECORD = {
    "status": "finished",
    "error": None,
    "best_epoch": 3,
    "wall_s": 12.5,
    "images_per_s": 200.0,
    "params": 1000,
    "peak_rss_mb": 800.0,
    "peak_gpu_mb": None,
    "images": {"train": 100, "val": 20, "test": 40},
    "hardware": "cpu (AMD EPYC), 2 threads",
    "git": "0123456789abcdef",
    "data_fingerprint": "f00d",
    "versions": {"python": "3.11.7", "torch": "2.14.1"},
}


@pytest.fixture(autouse=True)
def chosen_rates_go_elsewhere(tmp_path_factory, monkeypatch):
    """Write the rates of scale=tune to a folder of the test, not to conf/ of the checkout."""
    checkout = tmp_path_factory.mktemp("checkout")
    (checkout / "pyproject.toml").touch()
    for module in ("setting", "tuning"):
        monkeypatch.setattr(f"alexlab.studies.{module}.CONF", checkout / "conf")


@pytest.fixture
def make_sweep(tmp_path):
    """Return a function: make_sweep({"act": ["relu"], "seed": range(3)}, results) gives a folder.

    `results(values)` returns a run's metrics by name. Other keys go to metrics.json; `history` has
    the columns of history.csv. A string is the error of a failed run, None means a pending run.
    """

    def make(axes, results, about=None, *, scale="full", name="sweep", **facts):
        folder = tmp_path / "multirun" / name
        folder.mkdir(parents=True)
        axes = {axis: [str(value) for value in values] for axis, values in axes.items()}
        rows = []
        for number, values in enumerate(itertools.product(*axes.values())):
            cell = dict(zip(axes, values, strict=True))
            found = results(cell)
            row = {"number": number, "state": "pending", **cell, "objective": "", "wall_s": ""}
            row |= {"folder": f"{number}-run", "error": "", "identity": f"{name}-{number}"}
            if isinstance(found, str):
                row |= {"state": "failed", "error": found}
            elif found is not None:
                row |= {"state": found.pop("state", "finished")}
                row["objective"] = write_run(folder / row["folder"], cell, found)
            rows.append(row)
        with (folder / "trials.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        sweep = {
            "version": 1,
            "command": "python -m src.train study=act",
            "directions": ["maximize"],
            "axes": axes,
            "search": False,
            "config": {**BASE, "objective": "val/acc"},
            "scale": scale,
            "about": about,
            **facts,
        }
        (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
        return folder

    return make


def write_run(folder: Path, values, found):
    """Write the folder of a run that has ended; return its objective."""
    folder.mkdir()
    history = found.pop(
        "history", {"train/loss": [1.0, 0.8, 0.7, 0.6], "val/acc": [0.2, 0.3, 0.5, 0.4]}
    )
    length = len(next(iter(history.values())))
    history = {"epoch": range(1, length + 1), **history, "seconds": [1.0] * length}
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(history)
        writer.writerows(zip(*history.values(), strict=True))
    config = json.loads(json.dumps(BASE))
    for key, value in values.items():
        part, _, last = key.rpartition(".")
        if isinstance(config.get(key), dict):  # a choice of a group
            part, last = key, "name"
        (config[part] if part else config)[last] = value
    config["trainer"]["max_epochs"] = found.pop("max_epochs", length)
    config["data"]["split_seed"] = values.get("seed", 0)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    metrics = {"val/acc": 0.5, "train/acc": 0.6, "test/acc": 0.5}
    metrics |= {key: value for key, value in found.items() if "/" in key}
    rest = {key: value for key, value in found.items() if "/" not in key}
    record = {**RECORD, "epochs": length, "seed": int(values.get("seed", 0)), "metrics": metrics}
    record |= {"objective": metrics["val/acc"], **rest}
    (folder / "metrics.json").write_text(json.dumps(record))
    return record["objective"]
