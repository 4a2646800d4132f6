"""A finished run elsewhere: on other folders, without its data, on files of other kinds."""

import csv
import io
import json
import os
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from alexlab.evaluation import export
from alexlab.evaluation.loading import load_run
from alexlab.runs.config import compose_config
from tests.pictures import class_folders, grey, grey_folders, pixels
from tests.tiny import train


def trained(root, folder, *overrides):
    small = ["data=folder", f"data.root={root}", "model=small_cnn", "data.resolution=32"]
    small += ["data.batch_size=4", "trainer.max_epochs=1", f"cache_dir={folder.parent}/cache"]
    train(compose_config([*small, *overrides]), folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The images of a run, and the run."""
    place = tmp_path_factory.mktemp("made")
    root = class_folders(place / "in")
    return root, trained(root, place / "run")


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made[1], tmp_path / "run")


def evaluated(run):
    return json.loads((run / "evaluation/evaluation.json").read_text())


def test_another_folder_is_scored_as_a_whole(alexlab, run, tmp_path):
    other = class_folders(tmp_path / "other", each=20, start=500_000)
    alexlab("evaluate", run, "--data", f"root={other}")
    found = evaluated(run)
    assert (found["images"], found["split"]) == (60, "all")
    assert [row["images"] for row in found["per_class"]] == [20, 20, 20]
    assert "all 60 images are scored, also any that the run was trained on" in found["notes"]
    alexlab("evaluate", run, "--data", f"root={other}", "--split", "test")
    found = evaluated(run)
    assert found["images"] == 12
    assert [n for n in found["notes"] if n.startswith("only the 12 of 60 images in the test split")]


@pytest.mark.parametrize("each", [1, 2])
def test_few_images_are_enough(alexlab, run, tmp_path, each):
    other = class_folders(tmp_path / "other", each=each, start=500_000)
    alexlab("evaluate", run, "--data", f"root={other}")
    assert evaluated(run)["images"] == 3 * each


def test_a_folder_that_lacks_classes_is_scored_by_name(alexlab, run, made, tmp_path):
    """The truth of each image is its folder's name, whatever its place among the folders."""
    other = class_folders(tmp_path / "other", ["owl"], each=5, start=500_000)
    alexlab("evaluate", run, "--data", f"root={other}")
    rows = {row["class"]: row for row in evaluated(run)["per_class"]}
    assert [rows[name]["images"] for name in ("cat", "dog", "owl")] == [0, 0, 5]
    assert rows["cat"]["recall"] is None
    net = load_run(run, torch.device("cpu"))
    hits = 0
    for path in sorted((other / "owl").iterdir()):
        image = net.crops().of(Image.open(path).convert("RGB"))
        hits += net.classes[net.predict(image).argmax()] == "owl"
    assert evaluated(run)["metrics"]["acc"]["value"] == hits / 5


def test_one_image_has_a_score_without_interval(alexlab, run, tmp_path):
    other = class_folders(tmp_path / "other", ["dog"], each=1, start=500_000)
    alexlab("evaluate", run, "--data", f"root={other}")
    assert evaluated(run)["metrics"]["acc"]["interval"] == [None, None]
    assert re.search(
        r"\| accuracy \| [\d.]+% \| - \|", (run / "evaluation/evaluation.md").read_text()
    )


def test_the_run_s_own_images_elsewhere_keep_their_split(alexlab, run, made, tmp_path):
    """Else those that it was trained on would be scored."""
    alexlab("evaluate", run)
    before = evaluated(run)
    moved = shutil.copytree(made[0], tmp_path / "moved")
    alexlab("evaluate", run, "--data", f"root={moved}")
    after = evaluated(run)
    assert (after["images"], after["split"]) == (before["images"], "test")
    assert after["metrics"] == before["metrics"]
    assert not [note for note in after["notes"] if "not the images" in note]


def test_a_run_on_drawn_shapes_scores_a_folder_and_draws_nothing(alexlab, tmp_path):
    cache = f"cache_dir={tmp_path}/cache"
    small = ["model=small_cnn", "data.resolution=32", "data.num_images=60", "data.batch_size=4"]
    run = tmp_path / "run"
    train(compose_config([*small, "trainer.max_epochs=1", cache]), run)
    other = class_folders(tmp_path / "other", ["circle", "star"], each=4, start=500_000)
    alexlab("evaluate", run, "--data", f"root={other}")
    found = evaluated(run)
    assert (found["images"], found["split"]) == (8, "all")
    assert not [note for note in found["notes"] if "drawn by this program" in note]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "other", "run"]


@pytest.mark.parametrize("setting", ["fraction=0", "fit=foo", "val_fraction=x", "split_seed=-1"])
def test_other_data_settings_are_checked_as_for_a_training(alexlab, run, capsys, setting):
    with pytest.raises(SystemExit):
        alexlab("evaluate", run, "--data", setting)
    assert f"error: data.{setting}: " in capsys.readouterr().err


def test_unknown_classes_are_refused_by_name(alexlab, run, tmp_path, capsys):
    other = class_folders(tmp_path / "other", ["cat", "zebra"], start=500_000)
    with pytest.raises(SystemExit):
        alexlab("evaluate", run, "--data", f"root={other}")
    assert "unknown: zebra" in capsys.readouterr().err


@pytest.fixture
def without_data(run, tmp_path):
    """The run, copied to a machine without its data."""
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub(r"( root: ).*", rf"\1{tmp_path}/gone", text))
    return run


def test_export_needs_no_data(alexlab, without_data, tmp_path, capsys):
    target = tmp_path / "net.pt2"
    alexlab("export", without_data, "--format", "torch_export", "--output", target)
    said = capsys.readouterr().out
    assert "64 random images (data=folder: no folder" in said
    module = torch.export.load(target).module()
    net = load_run(without_data, torch.device("cpu"))
    stored, _ = export.pixels_to_compare(net)
    assert stored.float().std((0, 2, 3)).min() > 30  # random images, not a grey surface
    images = net.view.pixels(stored, training=False)
    assert torch.allclose(module(images), net.predict(stored), atol=1e-5)


def test_export_names_the_folder_that_the_user_gave(alexlab, without_data, tmp_path, capsys):
    with pytest.raises(SystemExit):
        alexlab(
            *("export", without_data, "--format", "torch_export", "--output", tmp_path / "x.pt2"),
            *("--data", f"root={tmp_path}/typo"),
        )
    assert f"no folder {tmp_path}/typo; give --data root=FOLDER" in capsys.readouterr().err


def test_look_takes_data_from_elsewhere(alexlab, without_data, made, capsys):
    with pytest.raises(SystemExit):
        alexlab("look", without_data)
    assert "give --data root=FOLDER" in capsys.readouterr().err
    alexlab("look", without_data, "--data", f"root={made[0]}")
    assert (without_data / "look" / "filters.png").exists()


def predictions(alexlab, capsys, *words):
    """The rows of predict's CSV, and what it says on standard error."""
    with pytest.raises(SystemExit) as stop:
        alexlab("predict", *words, "--format", "csv", "--top", 1)
    said = capsys.readouterr()
    return stop.value.code, list(csv.DictReader(io.StringIO(said.out))), said.err


def test_predict_follows_links_once_and_says_what_it_did_not_read(alexlab, run, tmp_path, capsys):
    store = class_folders(tmp_path / "store", each=3)
    (tmp_path / "data").mkdir()
    for name in ("cat", "dog", "owl"):
        (tmp_path / "data" / name).symlink_to(store / name)
    (store / "cat" / "loop").symlink_to(tmp_path / "data")
    (store / "cat" / "again").symlink_to(".")
    (store / "cat" / "notes.txt").write_text("x")
    (store / "dog" / "photo.HEIC").write_bytes(b"x")
    (store / "dog" / ".hidden.png").write_bytes(b"x")
    (store / "dog" / "__MACOSX").mkdir()
    (store / "dog" / "__MACOSX" / "a.png").write_bytes(b"x")
    code, rows, said = predictions(alexlab, capsys, run, tmp_path / "data")
    assert code == 0
    seen = [os.path.realpath(row["path"]) for row in rows]
    assert sorted(seen) == sorted(str(path) for path in store.glob("*/[0-9]*.png"))
    assert "3 files not read (" in said
    assert all(kind in said for kind in ("1 .txt", "1 .heic", "1 hidden"))


def test_predict_says_which_files_are_there_instead_of_images(alexlab, run, tmp_path, capsys):
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "1.HEIC").write_bytes(b"x")
    with pytest.raises(SystemExit):
        alexlab("predict", run, tmp_path / "phone")
    assert "no image in it; 1 file not read (1 .heic)" in capsys.readouterr().err


EVIL = "\x1b]0;owned\x07\x9b31m.png"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("format", ["table", "csv", "jsonl"])
def test_no_name_of_a_file_reaches_the_terminal_as_control_codes(
    alexlab, run, tmp_path, monkeypatch, format
):
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels(1)).save(tmp_path / "in" / EVIL, format="PNG")
    (tmp_path / "in" / ("broken" + EVIL)).write_bytes(b"x")
    (tmp_path / "in" / ("notes" + EVIL + ".txt")).write_bytes(b"x")
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(SystemExit):
        alexlab("predict", run, tmp_path / "in", "--format", format)
    for said in (out.getvalue(), err.getvalue()):
        visible = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)  # colours of the progress bar
        assert not re.search(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f]", visible)
        assert "owned" in visible


def test_a_pipe_gets_names_as_they_are(alexlab, run, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels(1)).save(tmp_path / "in" / EVIL, format="PNG")
    _, rows, _ = predictions(alexlab, capsys, run, tmp_path / "in")
    assert [row["path"] for row in rows] == [str(tmp_path / "in" / EVIL)]


@pytest.fixture(scope="module")
def deep_run(tmp_path_factory):
    """A run on 12-bit pictures in files of 16 bits, and their folder."""
    place = tmp_path_factory.mktemp("deep")
    twelve = lambda values: np.rint(values * 4095).astype(np.uint16)  # noqa: E731
    root = grey_folders(place / "in", twelve)
    return root, trained(root, place / "run", "data.split=random")


def test_prediction_decodes_grey_files_as_training_did(alexlab, deep_run, tmp_path, capsys):
    """Expected: the outputs for the pictures as 8 bits, of which 12 bits keep the highest."""
    run = deep_run[1]
    net = load_run(run, torch.device("cpu"))
    dim = tmp_path / "dim.png"
    values = np.rint(0.2 * grey(77) * 4095).astype(np.uint16)  # would be taken for 10 bits
    Image.fromarray(values).save(dim)
    code, rows, _ = predictions(alexlab, capsys, run, dim)
    eight = Image.fromarray((values >> 4).astype(np.uint8)).convert("RGB")
    expected = net.predict(net.crops().of(eight))[0]
    assert code == 0
    assert float(rows[0]["probability_1"]) == pytest.approx(expected.max().item(), abs=1e-4)
    assert rows[0]["class_1"] == net.classes[expected.argmax()]


def test_evaluation_finds_the_score_of_a_run_on_grey_files(alexlab, deep_run):
    run = deep_run[1]
    alexlab("evaluate", run)
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    assert evaluated(run)["metrics"]["acc"]["value"] == pytest.approx(metrics["test/acc"])
    assert "16-bit files use 12 bits: 4095 is white" in evaluated(run)["notes"]


def test_predict_names_images_of_one_colour(alexlab, run, tmp_path, capsys):
    """12 bits for a net that was trained on 8: nearly black."""
    values = np.rint(0.1 * grey(5) * 4095).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "dark.png")
    _, _, said = predictions(alexlab, capsys, run, tmp_path / "dark.png")
    assert f"note: 1 images decode to nearly one colour, first '{tmp_path}/dark.png'" in said


def test_an_image_that_is_there_twice_makes_no_interval_narrower(alexlab, run, tmp_path):
    """Expected: the intervals of the same images, each there once."""
    once = class_folders(tmp_path / "once", each=12, start=500_000)
    twice = shutil.copytree(once, tmp_path / "twice")
    for path in sorted(twice.rglob("*.png")):
        shutil.copy(path, path.with_name(f"{path.stem}-copy.png"))
    found = []
    for root in (once, twice):
        alexlab("evaluate", run, "--data", f"root={root}")
        found.append(evaluated(run))
    assert [one["images"] for one in found] == [36, 72]
    intervals = [one["metrics"]["top1_error"] for one in found]
    assert 0 < intervals[0]["value"] < 1
    assert intervals[1] == intervals[0]
