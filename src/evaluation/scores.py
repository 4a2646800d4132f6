"""How good predictions are, with 95% intervals; plain numbers, ready for JSON.

Intervals are percentile bootstraps over the test images, from a fixed seed: they say how much the
number would move with other images like these, not with another training.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torchmetrics.functional import classification as tm

from src.evaluation.views import BATCH, Crops, predict_all

Array = NDArray[np.float64]
Statistic = Callable[..., Any]
BINS = 15  # of the calibration (Guo et al. 2017)
RESAMPLES = 2000


def interval(statistic: Statistic, *values: NDArray[Any], vectorized: bool = False) -> list[float]:
    """95% bootstrap interval of a statistic of values [N] that belong together, image by image."""
    found = stats.bootstrap(
        values,
        statistic,
        paired=len(values) > 1,
        vectorized=vectorized,
        n_resamples=RESAMPLES,
        batch=100,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return [float(end) for end in found.confidence_interval]


def mean(values: NDArray[Any]) -> dict[str, Any]:
    """Mean and its interval."""
    return {"value": float(values.mean()), "interval": interval(np.mean, values, vectorized=True)}


def per_image(predictions: Tensor, targets: Tensor) -> Array:
    """What the headline is the mean of: hits [N] 0 or 1, or absolute errors [N]."""
    if predictions.shape[1] == 1:
        return (predictions[:, 0] - targets).abs().double().numpy()
    return (predictions.argmax(1) == targets).double().numpy()


def compare(
    predict: Callable[[Tensor], Tensor],
    views: Sequence[Crops],
    paths: Sequence[Path],
    targets: Tensor,
) -> list[dict[str, Any]]:
    """What each number of views reaches, and costs: the first is what the others are held against.

    The first has its `predictions` [N, K] too.
    """
    predict_all(
        paths[:BATCH], views[0], predict
    )  # so that the first is not charged for a cold start
    rows: list[dict[str, Any]] = []
    for crops in views:
        start = time.perf_counter()
        predictions = predict_all(paths, crops, predict)
        seconds = time.perf_counter() - start
        own = per_image(predictions, targets)
        if not rows:
            first, first_s = own, seconds
        headline = "mae" if predictions.shape[1] == 1 else "acc"
        row = {"crops": crops.number, headline: mean(own), "seconds": seconds}
        row |= {"ratio": seconds / first_s, "gain": mean(own - first) if rows else None}
        if headline == "acc":
            row["top5_error"] = mean(_top5_misses(predictions, targets))
        rows.append(row if rows else {**row, "predictions": predictions})
    return rows


def _top5_misses(probs: Tensor, targets: Tensor) -> Array:
    in_top5 = probs.topk(min(5, probs.shape[1])).indices.eq(targets[:, None]).any(1)
    return (~in_top5).double().numpy()


def classification(probs: Tensor, targets: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Errors, per-class scores, confusion matrix and calibration.

    Args:
        probs: [N, K].
        targets: [N] int64.
        classes: K names.
    """
    n, (preds, hits) = len(classes), (probs.argmax(1), per_image(probs, targets))
    confusion = tm.multiclass_confusion_matrix(preds, targets, n)
    precision, recall, f1 = (
        score(preds, targets, n, average=None).tolist()
        for score in (tm.multiclass_precision, tm.multiclass_recall, tm.multiclass_f1_score)
    )
    return {
        "metrics": {
            "acc": mean(hits),
            "top1_error": mean(1 - hits),
            "top5_error": mean(_top5_misses(probs, targets)),
            "f1": {
                "value": _macro_f1(preds.numpy(), targets.numpy()),
                "interval": interval(_macro_f1, preds.numpy(), targets.numpy()),
            },
        },
        "per_class": [
            {"class": c, "images": int(k), "precision": p, "recall": r, "f1": f}
            for c, k, p, r, f in zip(classes, confusion.sum(1), precision, recall, f1, strict=True)
        ],
        "confusion_matrix": confusion.tolist(),
        "calibration": calibration(probs, targets),
    }


def _macro_f1(preds: NDArray[np.int64], targets: NDArray[np.int64]) -> float:
    """Mean over the classes that occur of 2TP / (2TP + FP + FN), as in training."""
    size = int(max(preds.max(), targets.max())) + 1
    hits, predicted, actual = (
        np.bincount(found, minlength=size) for found in (preds[preds == targets], preds, targets)
    )
    seen = predicted + actual > 0
    return float((2 * hits[seen] / (predicted + actual)[seen]).mean())


def calibration(probs: Tensor, targets: Tensor) -> dict[str, Any]:
    """Expected calibration error over 15 equal bins of confidence, and what is in each bin."""
    confidence, hits = probs.max(1).values.double().numpy(), per_image(probs, targets)
    ece = tm.multiclass_calibration_error(probs, targets, probs.shape[1], n_bins=BINS, norm="l1")

    def binned(values: Array | None, statistic: str) -> list[float | None]:
        found = stats.binned_statistic(confidence, values, statistic, BINS, (0, 1)).statistic
        return [None if np.isnan(v) else float(v) for v in found]

    return {
        "ece": float(ece),
        "confidence": binned(confidence, "mean"),
        "accuracy": binned(hits, "mean"),
        "images": binned(hits, "count"),
    }


def regression(scores: Tensor, targets: Tensor, classes: Sequence[str] = ()) -> dict[str, Any]:
    """MAE, RMSE and Spearman's rank correlation of scores [N, 1]; there are no `classes`."""
    preds, truth = scores[:, 0].double().numpy(), targets.double().numpy()

    def rmse(a: Array, b: Array) -> float:
        return float(np.sqrt(np.square(a - b).mean()))

    def spearman(a: Array, b: Array) -> float:
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            return 0.0  # as in training: a net that gives one score to all
        return float(stats.spearmanr(a, b).statistic)

    both = (preds, truth)
    return {
        "metrics": {
            "mae": mean(np.abs(preds - truth)),
            "rmse": {"value": rmse(*both), "interval": interval(rmse, *both)},
            "spearman": {"value": spearman(*both), "interval": interval(spearman, *both)},
            "bias": mean(preds - truth),
        }
    }
