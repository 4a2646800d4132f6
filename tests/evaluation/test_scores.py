"""Numbers of an evaluation against published examples and sums done by hand."""

import numpy as np
import pytest
import torch

from alexlab.evaluation import scores
from alexlab.evaluation.inference import Crops


def sure(preds, targets, classes, confidence=1.0):
    """Probabilities that put `confidence` on each prediction, the rest on all others."""
    rest = (1 - confidence) / (classes - 1)
    probs = torch.full((len(preds), classes), rest)
    probs[range(len(preds)), preds] = confidence
    return probs, torch.tensor(targets)


def alone(number):
    """No image has a duplicate."""
    return scores.GroupBootstrap(np.arange(number))


def test_per_class_scores_are_those_of_scikit_learns_example():
    """The example of sklearn.metrics.classification_report, and its printed report."""
    found = scores.classification(
        *sure([0, 0, 2, 2, 1], [0, 1, 2, 2, 2], 3), ["0", "1", "2"], alone(5)
    )
    table = [
        (row["images"], round(row["precision"], 2), round(row["recall"], 2), round(row["f1"], 2))
        for row in found["per_class"]
    ]
    assert table == [(1, 0.5, 1.0, 0.67), (1, 0.0, 0.0, 0.0), (3, 1.0, 0.67, 0.8)]
    assert found["metrics"]["f1"]["value"] == pytest.approx(0.49, abs=0.005)
    assert found["metrics"]["acc"]["value"] == pytest.approx(0.6)
    assert found["confusion_matrix"] == [[1, 0, 0], [1, 0, 0], [0, 1, 2]]  # rows: shown


def test_top5_error_counts_what_is_not_among_the_first_five():
    probs = torch.arange(7.0).repeat(4, 1).softmax(1)  # classes 2 to 6 are the first five
    found = scores.classification(probs, torch.tensor([6, 2, 1, 0]), list("abcdefg"), alone(4))[
        "metrics"
    ]
    assert found["top5_error"]["value"] == 0.5
    assert found["top1_error"]["value"] == 0.75
    few = scores.classification(*sure([0, 1], [0, 1], 5), list("abcde"), alone(2))["metrics"]
    assert "top5_error" not in few  # of five classes it would be 0


def test_calibration_error_by_hand():
    """4 at .95 of which 3 are right, 2 at .55 of which 1: 4/6 * .2 + 2/6 * .05."""
    high, low = sure([0] * 4, [0, 0, 0, 1], 2, 0.95), sure([0] * 2, [0, 1], 2, 0.55)
    probs, targets = (torch.cat(pair) for pair in zip(high, low, strict=True))
    found = scores.calibration(probs, targets)
    assert found["ece"] == pytest.approx(0.15, abs=1e-6)
    assert found["images"][8] == 2
    assert found["accuracy"][8] == 0.5
    assert found["images"][14] == 4
    assert found["accuracy"][14] == 0.75
    assert found["confidence"][14] == pytest.approx(0.95)
    assert found["accuracy"][0] is None


def test_the_interval_of_a_share_is_that_of_the_normal_approximation():
    hits = np.array([0.0, 1.0] * 200)
    half = 1.96 * np.sqrt(0.25 / 400)
    found = alone(400).mean(hits)
    assert found["interval"] == pytest.approx([0.5 - half, 0.5 + half], abs=0.006)
    assert alone(400).mean(hits) == found  # the same each time


def test_duplicates_count_as_one_image_in_an_interval():
    """400 images, four of each: the interval is that of 100."""
    hits, half = np.repeat([0.0, 1.0] * 50, 4), 1.96 * np.sqrt(0.25 / 100)
    found = scores.GroupBootstrap(np.repeat(np.arange(100) + 7, 4)).mean(hits)
    assert found["value"] == 0.5
    assert found["interval"] == pytest.approx([0.5 - half, 0.5 + half], abs=0.012)


def test_regression_is_scipys_example_and_hand_sums():
    """The example of scipy.stats.spearmanr; errors 4, 4, 4, 4, 2."""
    found = scores.regression(
        torch.tensor([[5.0], [6], [7], [8], [7]]), torch.arange(1.0, 6), [], alone(5)
    )
    values = {name: score["value"] for name, score in found["metrics"].items()}
    assert values["spearman"] == pytest.approx(0.8207826816681233)
    assert values["mae"] == pytest.approx(18 / 5)
    assert values["bias"] == pytest.approx(18 / 5)
    assert values["rmse"] == pytest.approx((68 / 5) ** 0.5)
    same = scores.regression(torch.full((5, 1), 3.0), torch.arange(1.0, 6), [], alone(5))["metrics"]
    assert same["spearman"]["value"] == 0


def test_views_are_compared_on_the_same_images_with_gain_and_cost(monkeypatch):
    right = {1: [1, 0, 0, 0], 10: [1, 1, 1, 0]}  # of four images

    def predict_all(paths, crops, predict):
        return sure([1 - hit for hit in right[crops.number][: len(paths)]], [], 2)[0]

    monkeypatch.setattr(scores, "predict_all", predict_all)
    views = [Crops(n, 64, 64, "crop") for n in (1, 10)]
    one, ten = scores.compare(None, views, list("abcd"), torch.zeros(4, dtype=torch.long), alone(4))
    assert (one["acc"]["value"], ten["acc"]["value"]) == (0.25, 0.75)
    assert ten["gain"]["value"] == 0.5
    low, high = ten["gain"]["interval"]
    assert 0 <= low < 0.5 < high <= 1  # no image got worse: paired, it cannot be below 0
    assert ten["ratio"] == pytest.approx(ten["seconds"] / one["seconds"])
