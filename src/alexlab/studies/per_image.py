"""Compare two test accuracies of the same nets image by image.

Some claims are about one net: with ten crops and with one, or on images with a duplicate in train
and on the others. test_predictions.csv of each run has the prediction for every test image. These
two results are reported beside the answer, which comes from the seeds only:

- McNemar's exact test per run, on the images that only one of the two accuracies gets right.
- A bootstrap over images (Efron 1979): images are drawn with replacement, duplicates together, each
  with its outcomes in all runs.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

PREDICTIONS = "test_predictions.csv"
ACCURACY = re.compile(r"test/acc(?:_(?P<crops>\d+)_crops|_(?P<part>duplicates|unique))?")
LEVEL = 0.05
RESAMPLES, BATCH = 2000, 50
Counts = NDArray[np.float64]


class Outcomes(NamedTuple):
    """The outcome of each test image of a run for one accuracy."""

    right: NDArray[np.bool_]  # [N]
    counted: NDArray[np.bool_]  # [N]: False for images that the accuracy leaves out


def right_only_of(metrics: Sequence[str]) -> list[str]:
    """Return the two `right_only` metrics of two accuracies; none unless both are of all images."""
    found = [ACCURACY.fullmatch(metric) for metric in metrics]
    if len(set(metrics)) < 2 or not all(one and one["part"] is None for one in found):
        return []
    first, second = metrics
    return [f"right_only({first}, {second})", f"right_only({second}, {first})"]


def read_predictions(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Return the columns of test_predictions.csv of a run; empty without that file.

    Raises:
        ValueError: A value is not a number.
    """
    file = folder / PREDICTIONS
    if not file.is_file():
        return {}
    with file.open(newline="") as opened:
        names, *rows = csv.reader(opened)
    try:
        return dict(zip(names, np.array(rows, float).T, strict=True))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def outcomes(predictions: Mapping[str, NDArray[np.float64]], metric: str) -> Outcomes | None:
    """Return the outcomes for the accuracy `metric`, or None without the predictions."""
    found = ACCURACY.fullmatch(metric)
    if found is None:
        return None
    name = f"prediction_{found['crops']}_crops" if found["crops"] else "prediction"
    if name not in predictions:
        return None
    right = predictions[name] == predictions["target"]
    if found["part"] is None:
        return Outcomes(right, np.ones(len(right), bool))
    return Outcomes(right, predictions["duplicate_in_train"] == (found["part"] == "duplicates"))


def right_only(folder: Path, metric: str, other: str) -> float:
    """Return the share of the test images that `metric` gets right and `other` does not.

    NaN if the run lacks the predictions for one of them, or if they count different images.
    """
    predictions = read_predictions(folder)
    pair = outcomes(predictions, metric), outcomes(predictions, other)
    if pair[0] is None or pair[1] is None or (pair[0].counted != pair[1].counted).any():
        return np.nan
    return float((pair[0].right & ~pair[1].right)[pair[0].counted].mean())


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar 1947)."""
    return float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)


class ImageBootstrap(NamedTuple):
    """A difference of two accuracies over all runs, and its 95% interval over images."""

    images: int  # different test images
    difference: float
    low: float
    high: float


def bootstrap_images(
    runs: Sequence[Mapping[str, NDArray[np.float64]]], metrics: Sequence[str]
) -> ImageBootstrap | None:
    """Return the difference of two accuracies of the same runs with its percentile interval.

    Args:
        runs: The columns of test_predictions.csv of each run.
        metrics: The two accuracies; the difference is the first minus the second.
    """
    columns: list[Counts] = []  # per image of a run: group, right and counted of both
    images: set[float] = set()
    for predictions in runs:
        pair = [outcomes(predictions, metric) for metric in metrics]
        if pair[0] is None or pair[1] is None:
            continue
        images |= set(predictions["image"].tolist())
        counts = [part for one in pair if one for part in (one.right & one.counted, one.counted)]
        columns.append(np.array([predictions["group"], *counts]))
    if not columns:
        return None
    table = np.concatenate(columns, axis=1)
    groups, places = np.unique(table[0], return_inverse=True)
    sums = [np.bincount(places, part, len(groups)).astype(float) for part in table[1:]]
    if len(groups) < 2 or not sums[1].any() or not sums[3].any():
        return None

    def difference(*parts: Counts, axis: int = -1) -> Counts:
        first, n_first, second, n_second = (part.sum(axis) for part in parts)
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Counts = first / n_first - second / n_second
        return found

    interval = stats.bootstrap(
        sums,
        difference,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=RESAMPLES,
        batch=BATCH,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return ImageBootstrap(
        len(images), float(difference(*sums)), float(interval.low), float(interval.high)
    )


class PerImage(NamedTuple):
    """Results image by image; shares are None for accuracies of different images."""

    only_first: float | None  # mean share over runs of the images that only the first gets right
    only_second: float | None
    significant: int  # runs with a p-value below `LEVEL` in McNemar's test
    runs: int
    bootstrap: ImageBootstrap | None


def compare_images(
    frame: pd.DataFrame, folders: Sequence[Path], metrics: Sequence[str]
) -> PerImage | None:
    """Compare two accuracies image by image in runs that trained; None without predictions.

    Args:
        frame: Rows of runs.csv, with the columns of `right_only_of(metrics)`.
        folders: The folders of these runs.
        metrics: The two accuracies.
    """
    bootstrap = bootstrap_images([read_predictions(folder) for folder in folders], metrics)
    columns = right_only_of(metrics)
    shares = frame[columns].dropna() if columns else frame[[]]
    if bootstrap is None and not len(shares):
        return None
    if not columns or not len(shares):
        return PerImage(None, None, 0, len(frame), bootstrap)
    images = frame.loc[shares.index, "test_images"]
    counts = (shares.mul(images, axis=0)).round().astype(int)
    values = [mcnemar_p(*row) for row in counts.itertuples(index=False)]
    means = shares.mean()
    small = sum(p < LEVEL for p in values)
    return PerImage(float(means.iloc[0]), float(means.iloc[1]), small, len(values), bootstrap)
