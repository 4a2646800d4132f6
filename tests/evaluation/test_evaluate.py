"""An evaluation of real runs: its numbers, its files, what it refuses."""

import json
import re
import shutil

import pytest
from PIL import Image

from alexlab.evaluation.evaluate import evaluate
from alexlab.evaluation.loading import load_run
from alexlab.runs.folder import read_metrics


@pytest.fixture(scope="module")
def evaluated(class_run):
    return evaluate(class_run, crops=[1, 10])


def test_it_finds_what_the_run_reported(evaluated, class_run):
    found = json.loads((evaluated / "evaluation.json").read_text())
    metrics = read_metrics(class_run)["metrics"]
    for name in ("acc", "top1_error", "f1"):
        assert found["metrics"][name]["value"] == pytest.approx(metrics[f"test/{name}"])
        low, high = found["metrics"][name]["interval"]
        assert low <= found["metrics"][name]["value"] <= high
    assert [row["crops"] for row in found["crops"]] == [1, 10]
    shown = [sum(row) for row in found["confusion_matrix"]]
    assert shown == [row["images"] for row in found["per_class"]]
    assert sum(shown) == found["images"]
    assert all(row["true"] != row["predicted"] for row in found["worst"])
    confidences = [row["confidence"] for row in found["worst"]]
    assert confidences == sorted(confidences, reverse=True)


def test_its_page_needs_no_other_file(evaluated):
    page = (evaluated / "evaluation.html").read_text()
    plots = {path.stem for path in (evaluated / "plots").iterdir()}
    assert plots == {"confusion", "reliability", "crops", "mistakes", "mistakes_by_class"}
    assert len(re.findall(r'src="data:image/png;base64,', page)) == len(plots)
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # "#" is a place in this page
    text = (evaluated / "evaluation.md").read_text()
    assert "top-5" not in text  # of three classes
    assert set(re.findall(r"\(plots/(\w+)\.png\)", text)) == plots


def test_images_that_have_changed_in_their_place_keep_their_split(class_run, tmp_path, monkeypatch):
    def load(run):
        net = load_run(run)
        net.checkpoint["fingerprint"] = "of other images"
        return net

    monkeypatch.setattr("alexlab.evaluation.evaluate.load_run", load)
    run = shutil.copytree(class_run, tmp_path / "run")
    found = json.loads((evaluate(run) / "evaluation.json").read_text())
    assert found["split"] == "test"
    note = f"only the {found['images']} of 100 images in the test split are scored"
    assert any(one.startswith(note) for one in found["notes"])


def test_its_plots_and_what_it_prints(class_run, tmp_path, capsys):
    run = shutil.copytree(class_run, tmp_path / "run")
    place = evaluate(run, crops=[1, 10])
    for path in (place / "plots").iterdir():
        with Image.open(path) as plot:
            assert plot.info["dpi"][0] == pytest.approx(160, abs=0.5)
    assert "Test-time crops" in (printed := capsys.readouterr().out)
    assert "Classes" not in printed
    evaluate(run)
    assert "Numbers" in (printed := capsys.readouterr().out)
    assert "Classes" not in printed


def test_regression(alexlab, score_run, capsys):
    alexlab("evaluate", score_run, "--split", "val")
    found = json.loads((score_run / "evaluation/evaluation.json").read_text())
    metrics = read_metrics(score_run)["metrics"]
    for name in ("mae", "rmse", "spearman"):
        assert found["metrics"][name]["value"] == pytest.approx(metrics[f"val/{name}"], abs=1e-4)
    assert {p.stem for p in (score_run / "evaluation/plots").iterdir()} == {"errors", "residuals"}
    assert "Spearman" in capsys.readouterr().out


def test_other_images_are_taken_and_said_and_other_classes_refused(
    alexlab, class_run, tmp_path, capsys
):
    run = shutil.copytree(class_run, tmp_path / "run")
    alexlab("evaluate", run, "--data", "draw_seed=5", "num_images=60", "--split", "all")
    found = json.loads((run / "evaluation/evaluation.json").read_text())
    assert found["images"] == 60
    assert any("not the images" in note for note in found["notes"])
    with pytest.raises(SystemExit):
        alexlab("evaluate", run, "--data", "targets=score")
    assert "shapes has scores, the run was trained on classes" in capsys.readouterr().err
