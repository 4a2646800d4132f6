import csv
import json
import os
import shutil

import pytest
from PIL import Image

from alexlab.data.check import examine
from alexlab.data.datamodule import ImageFolderData


def data_in(root, cache_dir, **settings):
    return ImageFolderData(
        str(root), name="x", resolution=16, batch_size=4, cache_dir=str(cache_dir), **settings
    )


def write_manifest(root, groups):
    """`groups` is {path: group}."""
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "neardup_group"), *groups.items()])


@pytest.fixture
def messy(image_folder, tmp_path):
    """The small image folder with one of each fault, and a manifest of the true duplicates."""
    root = tmp_path / "messy"
    shutil.copytree(image_folder, root)
    shutil.copy(root / "red" / "0.png", root / "red" / "same.png")
    shutil.copy(root / "red" / "0.png", root / "blue" / "same.png")  # under two labels
    Image.open(root / "green" / "1.png").resize((64, 64)).save(root / "green" / "near.png")
    Image.open(root / "green" / "2.png").convert("L").save(root / "green" / "grey.png")
    shutil.move(root / "blue" / "5.png", root / "blue" / "5.jpg")  # a PNG by its content
    (root / "red" / "broken.png").write_bytes(b"x")
    (root / "red" / "notes.txt").write_text("x")
    duplicates = {"red/same.png": "red/0.png", "blue/same.png": "red/0.png"}
    duplicates |= {"green/near.png": "green/1.png", "green/grey.png": "green/2.png"}
    paths = sorted(p.relative_to(root).as_posix() for p in root.glob("*/*.[pj]*"))
    write_manifest(root, {path: duplicates.get(path, path) for path in paths})
    return root


def test_every_fault_is_found(messy, tmp_path):
    found = examine(data_in(messy, tmp_path / "cache"))
    assert found["files"] == 23
    assert found["broken"] == {"red/broken.png": "not an image in a known format"}
    assert found["ignored"] == ["red/notes.txt"]
    assert found["wrong_extension"] == ["blue/5.jpg"]
    assert found["formats"] == {"PNG": 22}
    assert found["modes"] == {"RGB": 21, "L": 1}
    assert found["size"]["width"][2] == 64
    assert found["exact_duplicates"] == [["blue/same.png", "red/0.png", "red/same.png"]]
    assert found["exact_duplicates_of_two_classes"] == found["exact_duplicates"]
    assert sorted(map(len, found["duplicates"])) == [2, 2, 3]
    truth = found["against_manifest"]
    assert (truth["pairs_true"], truth["pairs_found"], truth["pairs_both"]) == (5, 5, 5)
    assert truth["precision"] == truth["recall"] == 1
    for kind in ("grouped", "random"):
        counts = found["counts"][kind]
        assert sum(sum(split.values()) for split in counts.values()) == 22
    assert found["leak"]["grouped"]["test_duplicated_in_train"] == 0
    assert found["leak"]["random"]["test"] == sum(found["counts"]["random"]["test"].values())


def test_precision_and_recall_by_hand(messy, tmp_path):
    """A manifest that takes green/1 and green/2 for one, and knows nothing of red's copies."""
    paths = [row["path"] for row in csv.DictReader((messy / "manifest.csv").open())]
    write_manifest(messy, {p: "g" if p[:7] in ("green/1", "green/2") else p for p in paths})
    truth = examine(data_in(messy, tmp_path / "cache"))["against_manifest"]
    assert (truth["pairs_true"], truth["pairs_found"], truth["pairs_both"]) == (1, 5, 0)


def test_the_leak_of_a_random_split_is_counted(image_folder, tmp_path):
    root = tmp_path / "doubled"
    shutil.copytree(image_folder, root)
    for path in sorted(image_folder.rglob("*.png")):
        shutil.copy(path, root / path.parent.name / f"copy-{path.name}")
    data = data_in(root, tmp_path, split="random")
    found = examine(data)
    data.prepare()
    train, test = ([data.files.paths[i] for i in data.indices[s]] for s in ("train", "test"))
    plain = {path.replace("copy-", "") for path in train}
    by_hand = sum(path.replace("copy-", "") in plain for path in test)
    assert 0 < by_hand == found["leak"]["random"]["test_duplicated_in_train"]


def test_the_command_prints_and_writes(alexlab, messy, tmp_path, capsys):
    settings = ["data=folder", f"data.root={messy}", f"cache_dir={tmp_path / 'cache'}"]
    alexlab("data", "check", *settings, "--out", tmp_path / "out")
    printed = capsys.readouterr().out
    written = (tmp_path / "out" / "folder.md").read_text()
    assert written in printed
    assert "Broken files: 1 (1 .png)\n" in written
    assert "5 true pairs of duplicates, 5 found" in written
    assert json.loads((tmp_path / "out" / "folder.json").read_text())["files"] == 23


def test_an_error_is_one_line(alexlab, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        alexlab("data", "check", "data=folder", f"data.root={tmp_path / 'nowhere'}")
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: data=folder: no folder {tmp_path}")


@pytest.mark.real_data
@pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set")
def test_pokemon(tmp_path):
    root = os.path.join(os.environ["DATA_DIR"], "pokemon")
    found = examine(data_in(root, tmp_path))
    rows = list(csv.DictReader(open(os.path.join(root, "manifest.csv"))))  # noqa: SIM115
    labels = {}
    for row in rows:
        labels.setdefault(row["orig_sha1"], set()).add(row["label"])
    assert found["files"] == len(rows) == 1167
    assert (
        len(found["exact_duplicates_of_two_classes"])
        == sum(len(names) > 1 for names in labels.values())
        == 10
    )
    assert found["leak"]["grouped"]["test_duplicated_in_train"] == 0
    assert found["leak"]["random"]["test_duplicated_in_train"] > 50
    sizes = [(int(row["width"]), int(row["height"])) for row in rows]
    assert found["size"]["width"][::2] == [min(sizes)[0], max(sizes)[0]]
    assert found["modes"] == {"RGB": 1156, "RGBA": 11}
