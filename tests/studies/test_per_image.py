"""Readings image by image: published McNemar examples, counts by hand, standard errors."""

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest

from alexlab.studies import per_image
from alexlab.studies.write_report import check_answers, write_report


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [  # Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology 13:91, exact test
        (1, 7, 0.0703125),  # airway hyper-responsiveness; 2 (1 + 8) / 2^8
        (6, 16, 0.0525),  # complete response before and after consolidation therapy
        (0, 0, 1.0),
    ],
)
def test_mcnemar(only_first, only_second, p):
    assert per_image.mcnemar_p(only_first, only_second) == pytest.approx(p, abs=5e-5)
    assert per_image.mcnemar_p(only_second, only_first) == pytest.approx(p, abs=5e-5)


def write_predictions(folder, one, ten, known=None, groups=None):
    """Right and wrong answers as text: "1" is right, for one crop and for ten."""
    known, groups = known or "0" * len(one), groups or range(len(one))
    with (folder / "test_predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["image", "group", "target", "prediction", "prediction_10_crops", "duplicate_in_train"]
        )
        for image, row in enumerate(zip(groups, one, ten, known, strict=True)):
            group, a, b, duplicate = row
            writer.writerow(
                [image, group, 3, 3 if a == "1" else 1, 3 if b == "1" else 2, duplicate]
            )


def test_shares_of_images_that_one_gets_right(tmp_path):
    write_predictions(tmp_path, one="11001000", ten="11110000")
    assert per_image.right_only(tmp_path, "test/acc_10_crops", "test/acc") == 2 / 8
    assert per_image.right_only(tmp_path, "test/acc", "test/acc_10_crops") == 1 / 8
    assert math.isnan(per_image.right_only(tmp_path, "test/acc", "test/acc_144_crops"))
    assert math.isnan(per_image.right_only(tmp_path, "test/acc_unique", "test/acc_duplicates"))
    assert math.isnan(per_image.right_only(tmp_path / "none", "test/acc", "test/acc_10_crops"))


def test_predictions_that_are_no_numbers_are_named(tmp_path):
    (tmp_path / "test_predictions.csv").write_text("image,target\n1,cat\n")
    with pytest.raises(ValueError, match=r"test_predictions.csv: .*cat"):
        per_image.read_predictions(tmp_path)


def columns(tmp_path, **more):
    write_predictions(tmp_path, **more)
    return per_image.read_predictions(tmp_path)


def test_bootstrap_over_images(tmp_path):
    """Of 100 images 10 are right only with 10 crops, 2 only with one: sd of d is sqrt(0.1136)."""
    run = columns(tmp_path, one="0" * 10 + "1" * 90, ten="1" * 98 + "00")
    found = per_image.bootstrap_images([run], ["test/acc_10_crops", "test/acc"])
    error = 1.96 * math.sqrt(0.1136 / 100)
    assert found.images == 100
    assert found.difference == pytest.approx(0.08)
    assert (found.low, found.high) == pytest.approx((0.08 - error, 0.08 + error), abs=0.015)


def test_duplicates_are_drawn_together(tmp_path):
    """25 groups of 4 alike: 3 groups gain, 1 loses; the standard error is that of 25 values."""
    groups = [image // 4 for image in range(100)]
    run = columns(tmp_path, one="0" * 12 + "1" * 88, ten="1" * 96 + "0000", groups=groups)
    found = per_image.bootstrap_images([run], ["test/acc_10_crops", "test/acc"])
    error = 1.96 * math.sqrt((4 / 25 - 0.08**2) / 25)
    assert (found.high - found.low) / 2 == pytest.approx(error, rel=0.1)


def test_images_of_two_kinds_are_compared(tmp_path):
    """Of 40 images with a duplicate in train 36 are right, of 60 others 45: 0.9 - 0.75."""
    known, right = "1" * 40 + "0" * 60, "1" * 36 + "0" * 4 + "1" * 45 + "0" * 15
    run = columns(tmp_path, one=right, ten=right, known=known)
    found = per_image.bootstrap_images([run], ["test/acc_duplicates", "test/acc_unique"])
    error = 1.96 * math.sqrt(0.9 * 0.1 / 40 + 0.75 * 0.25 / 60)
    assert found.difference == pytest.approx(0.15)
    assert (found.high - found.low) / 2 == pytest.approx(error, rel=0.12)


def test_runs_without_predictions_have_no_bootstrap():
    assert per_image.bootstrap_images([{}], ["test/acc_10_crops", "test/acc"]) is None


CROPS = {
    "statement": "10 crops test higher than one",
    "kind": "greater",
    "treatment_metric": "test/acc_10_crops",
    "control_metric": "test/acc",
    "margin": 0.01,
}


def test_the_report_has_columns_of_pairs_and_both_readings(make_sweep):
    """Runs of 40 images: 8 to 10 right only with 10 crops, one right only with one crop."""
    about = {"question": "What do crops gain?", "claims": [CROPS], "looks": {"tuned": [3]}}

    def results(values):
        gained = 8 + int(values["seed"])
        return {"test/acc": 21 / 40, "test/acc_10_crops": (20 + gained) / 40}

    folder = make_sweep({"seed": range(4)}, results, about)  # the look takes three of them
    for seed in range(4):
        gained = 8 + seed
        one, ten = "0" * gained + "1" * 21, "1" * gained + "0" + "1" * 20
        rest = "0" * (40 - len(one))
        write_predictions(folder / f"{seed}-run", one + rest, ten + rest)
    write_report(folder)
    rows = list(csv.DictReader((folder / "runs.csv").open()))
    gains = [float(row["right_only(test/acc_10_crops, test/acc)"]) for row in rows]
    assert gains == pytest.approx([8 / 40, 9 / 40, 10 / 40, 11 / 40])
    losses = [float(row["right_only(test/acc, test/acc_10_crops)"]) for row in rows]
    assert losses == pytest.approx([1 / 40] * 4)
    (one,) = json.loads((folder / "answers.json").read_text())["claims"]
    assert one["answer"] == "more"
    found = one["per_image"]
    # 1 against 8: p = 2 (1 + 9) / 2^9 = 0.039; against 9: 0.021; against 10: 0.012
    assert (found["significant"], found["runs"]) == (3, 3)
    assert (found["only_first"], found["only_second"]) == pytest.approx((9 / 40, 1 / 40))
    assert found["bootstrap"]["difference"] == pytest.approx(8 / 40)
    assert found["bootstrap"]["images"] == 40
    text = (folder / "report.md").read_text()
    assert "22.5% of the test images are right only by test accuracy with 10 crops" in text
    assert "p < 0.05 in 3 of 3 runs" in text
    assert "A bootstrap over the 40 different test images of these runs" in text
    assert check_answers([folder]) == 0


def test_the_bootstrap_is_the_same_each_time(tmp_path):
    run = columns(tmp_path, one="01" * 20, ten="0011" * 10)
    found = [per_image.bootstrap_images([run], ["test/acc_10_crops", "test/acc"]) for _ in range(2)]
    assert found[0] == found[1]
    assert np.isfinite(found[0].low)


def test_images_are_counted_as_whole_numbers(monkeypatch):
    """0.29 of 100 images are 29, although 0.29 * 100 is a little less in floating point."""
    counted = []
    monkeypatch.setattr(per_image, "mcnemar_p", lambda *counts: counted.append(counts) or 1.0)
    names = per_image.right_only_of(["test/acc_10_crops", "test/acc"])
    frame = pd.DataFrame({names[0]: [0.29], names[1]: [0.07], "test_images": [100.0]})
    found = per_image.compare_images(frame, [], ["test/acc_10_crops", "test/acc"])
    assert counted == [(29, 7)]
    assert (found.significant, found.runs, found.bootstrap) == (0, 1, None)


def test_parts_of_the_images_have_no_pairs(tmp_path):
    """Of six images two have a duplicate in train; one of them is right, and three of the rest."""
    run = columns(tmp_path, one="101110" * 20, ten="1" * 120, known="110000" * 20)
    duplicates = per_image.outcomes(run, "test/acc_duplicates")
    assert (duplicates.counted.sum(), (duplicates.right & duplicates.counted).sum()) == (40, 20)
    unique = per_image.outcomes(run, "test/acc_unique")
    assert (unique.counted.sum(), (unique.right & unique.counted).sum()) == (80, 60)
    found = per_image.bootstrap_images([run], ["test/acc_unique", "test/acc_duplicates"])
    assert found.difference == pytest.approx(3 / 4 - 1 / 2)
    assert per_image.right_only_of(["test/acc_unique", "test/acc_duplicates"]) == []
