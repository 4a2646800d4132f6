"""Evaluate a finished run: scores with intervals, several crops, plots of its mistakes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from alexlab.data.datamodule import ImageFolderData
from alexlab.data.decode import DEFAULT_WHITE
from alexlab.evaluation import plots, scores
from alexlab.evaluation.inference import Crops
from alexlab.evaluation.loading import LoadedRun, load_run
from alexlab.evaluation.report import write
from alexlab.evaluation.scores import GroupBootstrap
from alexlab.runs import provenance


def evaluate(
    run: Path,
    *,
    settings: Sequence[str] = (),
    crops: Sequence[int] = (1,),
    split: str | None = None,
) -> Path:
    """Evaluate `run`, print its scores, write the report and return the report's folder.

    Args:
        run: The folder of a finished run.
        settings: Data settings to change, such as `root=FOLDER`. The classes must be those of the
            run; with `split=None` some may be absent.
        crops: Numbers of crops per image: 1, 10 or 144. One crop is always evaluated.
        split: `test`, `val`, or `all` images; None is test, or all images of another folder.

    Raises:
        ValueError: The data has other classes, or a setting is not valid.
        FileNotFoundError: The data set is missing.
    """
    net = load_run(run)
    views = [net.crops(number) for number in sorted({1, *crops})]
    data = net.data(settings, foreign=split is None)
    if net.white == DEFAULT_WHITE:  # training had no images of more than 8 bits
        views = [replace(view, white=data.white) for view in views]
    own = data.fingerprint == net.checkpoint["fingerprint"]
    split = split or ("all" if not own and data.all_test else "test")
    rows = (
        np.sort(np.concatenate(list(data.indices.values())))
        if split == "all"
        else data.indices[split]
    )
    paths, targets = data.cache.paths(rows), data.targets[rows]
    resampled = GroupBootstrap(data.cache.index().duplicates[rows])
    compared = scores.compare(net.predict, views, paths, targets, resampled)
    predictions = compared[0].pop("predictions")
    score = scores.classification if net.classes else scores.regression
    results: dict[str, Any] = {
        "run": str(net.folder),
        "model": net.cfg.model["_target_"].rsplit(".", 1)[-1],
        "data": data.name,
        "root": str(data.files.root),
        "split": split,
        "images": len(rows),
        "epoch": net.checkpoint["epoch"],
        "device": provenance.hardware(net.device),
        "notes": [*_notes(net, data, split, views), *map(str, views[1:])],
        **score(predictions, targets, net.classes, resampled),
        "crops": compared,
    }
    predicted = plots.Predictions(
        paths, targets, predictions, net.classes, net.cfg.data.fit, views[0].white
    )
    return write(results, predicted, net.folder / "evaluation")


def _notes(net: LoadedRun, data: ImageFolderData, split: str, views: Sequence[Crops]) -> list[str]:
    """List notes for the reader about the data and the crops."""
    notes = list(data.notes)
    if data.fingerprint != net.checkpoint["fingerprint"]:
        notes.append(
            "these are not the images that the run was trained and tested on: their contents or"
            " names differ"
        )
        total = int((~data.cache.index().broken).sum())
        if split == "all":
            notes.append(f"all {total:,} images are scored, also any that the run was trained on")
        else:
            notes.append(
                f"only the {len(data.indices[split]):,} of {total:,} images in the {split} split"
                " are scored; --split all scores all"
            )
    elif split == "all":
        notes.append("the images that the run was trained on are among them")
    if len(views) > 1 and not net.cfg.augment.get("crop"):
        notes.append("the net was trained without augment.crop, so crops are unlike its images")
    return notes
