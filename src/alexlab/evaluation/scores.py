"""Score predictions, with 95% intervals, as plain data for JSON."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torchmetrics.functional import classification as tm

from alexlab.evaluation.inference import BATCH, Crops, predict_all

RESAMPLES = 2000


class GroupBootstrap:
    """Compute statistics with percentile bootstrap intervals, with a fixed seed.

    The intervals cover other images like these, not another training. Exact and near duplicates
    are drawn together, because they are not independent.

    Args:
        duplicates: The group of duplicates of each image [N].
    """

    def __init__(self, duplicates: NDArray[np.int64]) -> None:
        _, self.group = np.unique(duplicates, return_inverse=True)
        self.groups = int(self.group.max()) + 1

    def ci(self, statistic: Callable[..., Any], *values: NDArray[Any]) -> dict[str, Any]:
        """Return a statistic of values [N] with its interval (None limits for a single group)."""
        if self.groups == 1:
            return {"value": float(statistic(*values)), "interval": [None, None]}

        def again(drawn: NDArray[np.int64]) -> float:
            times = np.bincount(drawn, minlength=self.groups)[self.group]
            return float(statistic(*(np.repeat(v, times) for v in values)))

        low, high = stats.bootstrap(
            (np.arange(self.groups),),
            again,
            vectorized=False,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        return {"value": float(statistic(*values)), "interval": [float(low), float(high)]}

    def mean(self, values: NDArray[np.float64]) -> dict[str, Any]:
        """Return the mean of values [N] with its interval."""
        return self.ci(np.mean, values)


Array = NDArray[np.float64]
BINS = 15  # of the calibration (Guo et al. 2017)


def compare(
    predict: Callable[[Tensor], Tensor],
    views: Sequence[Crops],
    paths: Sequence[Path],
    targets: Tensor,
    resampled: GroupBootstrap,
) -> list[dict[str, Any]]:
    """Score each number of crops and measure its time; gains are relative to the first.

    The first row also has its `predictions` [N, K].
    """
    predict_all(paths[:BATCH], views[0], predict)  # warm-up: the first pass would be slower
    rows: list[dict[str, Any]] = []
    for crops in views:
        start = time.perf_counter()
        predictions = predict_all(paths, crops, predict)
        seconds = time.perf_counter() - start
        headline, own = per_image(predictions, targets)
        if not rows:
            first, first_s = own, seconds
        row = {"crops": crops.number, headline: resampled.mean(own), "seconds": seconds}
        row |= {"ratio": seconds / first_s, "gain": resampled.mean(own - first) if rows else None}
        if headline == "acc" and predictions.shape[1] > 5:
            row["top5_error"] = resampled.mean(_top5_misses(predictions, targets))
        rows.append(row if rows else {**row, "predictions": predictions})
    return rows


def per_image(predictions: Tensor, targets: Tensor) -> tuple[str, Array]:
    """Return the main metric and its values [N]: hits (0 or 1), or absolute errors."""
    if predictions.shape[1] == 1:
        return "mae", (predictions[:, 0] - targets).abs().double().numpy()
    return "acc", (predictions.argmax(1) == targets).double().numpy()


def _top5_misses(probs: Tensor, targets: Tensor) -> Array:
    in_top5 = probs.topk(5).indices.eq(targets[:, None]).any(1)
    return (~in_top5).double().numpy()


def classification(
    probs: Tensor, targets: Tensor, classes: Sequence[str], resampled: GroupBootstrap
) -> dict[str, Any]:
    """Score probabilities [N, K]: metrics, per-class scores, confusion matrix, calibration."""
    n, preds, (_, hits) = len(classes), probs.argmax(1), per_image(probs, targets)
    confusion = tm.multiclass_confusion_matrix(preds, targets, n)
    precision, recall, f1 = (
        score(preds, targets, n, average=None).tolist()
        for score in (tm.multiclass_precision, tm.multiclass_recall, tm.multiclass_f1_score)
    )
    return {
        "metrics": {
            "acc": resampled.mean(hits),
            "top1_error": resampled.mean(1 - hits),
            **({"top5_error": resampled.mean(_top5_misses(probs, targets))} if n > 5 else {}),
            "f1": resampled.ci(_macro_f1, preds.numpy(), targets.numpy()),
        },
        "per_class": [
            {"class": c, "images": int(k), "precision": p}
            | ({"recall": r, "f1": f} if k else {"recall": None, "f1": None})  # no image of it
            for c, k, p, r, f in zip(classes, confusion.sum(1), precision, recall, f1, strict=True)
        ],
        "confusion_matrix": confusion.tolist(),
        "calibration": calibration(probs, targets),
    }


def _macro_f1(preds: NDArray[np.int64], targets: NDArray[np.int64]) -> float:
    """Compute the mean of 2TP / (2TP + FP + FN) over the classes that occur, as in training.

    The bootstrap calls this 2,000 times; torchmetrics takes twenty times as long.
    """
    size = int(max(preds.max(), targets.max())) + 1
    hits, predicted, actual = (
        np.bincount(found, minlength=size) for found in (preds[preds == targets], preds, targets)
    )
    seen = predicted + actual > 0
    return float((2 * hits[seen] / (predicted + actual)[seen]).mean())


def calibration(probs: Tensor, targets: Tensor) -> dict[str, Any]:
    """Compute the expected calibration error over 15 bins of equal width, and each bin's values."""
    confidence, (_, hits) = probs.max(1).values.double().numpy(), per_image(probs, targets)
    ece = tm.multiclass_calibration_error(probs, targets, probs.shape[1], n_bins=BINS, norm="l1")

    def binned(values: Array, statistic: str) -> list[float | None]:
        found = stats.binned_statistic(confidence, values, statistic, BINS, (0, 1)).statistic
        return [None if np.isnan(v) else float(v) for v in found]

    return {
        "ece": float(ece),
        "confidence": binned(confidence, "mean"),
        "accuracy": binned(hits, "mean"),
        "images": binned(hits, "count"),
    }


def regression(
    scores: Tensor, targets: Tensor, classes: Sequence[str], resampled: GroupBootstrap
) -> dict[str, Any]:
    """Score predictions [N, 1]: MAE, RMSE, Spearman's rank correlation, bias."""
    preds, truth = scores[:, 0].double().numpy(), targets.double().numpy()

    def rmse(a: Array, b: Array) -> float:
        return float(np.sqrt(np.square(a - b).mean()))

    def spearman(a: Array, b: Array) -> float:
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            return 0.0  # as in training: all scores are equal
        return float(stats.spearmanr(a, b).statistic)

    return {
        "metrics": {
            "mae": resampled.mean(np.abs(preds - truth)),
            "rmse": resampled.ci(rmse, preds, truth),
            "spearman": resampled.ci(spearman, preds, truth),
            "bias": resampled.mean(preds - truth),
        }
    }
