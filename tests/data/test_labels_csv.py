import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alexlab.data.labels_csv import ScoresData, find_scored_images


@pytest.fixture
def table(tmp_path):
    """Writes images/0.png ... 19.png and labels.csv with the given lines."""
    (tmp_path / "images").mkdir()
    for i in range(20):
        noise = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "images" / f"{i}.png")

    def write(*rows, header="filename,other,score"):
        (tmp_path / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
        return tmp_path

    return write


def test_scores_become_float_targets(table, tmp_path):
    root = table(*(f"{i}.png,x,{1 + i / 4}" for i in range(20)))
    data = ScoresData(
        str(root), name="scores", resolution=8, batch_size=4, cache_dir=str(tmp_path / "cache")
    )
    data.prepare()
    assert data.num_outputs == 1
    assert data.classes == []
    assert data.counts == {"train": {"images": 14}, "val": {"images": 2}, "test": {"images": 4}}
    images, targets = next(iter(data.val_dataloader()))
    assert targets.dtype == torch.float32
    for image, target in zip(images, targets, strict=True):
        path = root / "images" / f"{int((target - 1) * 4)}.png"
        np.testing.assert_array_equal(
            image.numpy().transpose(1, 2, 0), np.asarray(Image.open(path))
        )


def test_images_may_lie_beside_the_table(table):
    root = table("images/3.png,x,2", "4.png,x,10")
    files = find_scored_images(root)
    assert files.paths == ["images/3.png", "images/4.png"]
    assert files.targets == [2, 10]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1.png,x,5", "2.png,x,nan"], r"line 3 \('images/2.png'\): score 'nan' is not a number"),
        (["1.png,x,"], r"line 2 \('images/1.png'\): score '' is not a number from 1 to 10"),
        (["1.png"], r"line 2 \('images/1.png'\): score None is not a number"),
        (["1.png,x,good"], r"line 2 .*score 'good' is not a number from 1 to 10"),
        (["1.png,x,10.5"], r"line 2 .*score '10.5' is not a number from 1 to 10"),
        (["1.png,x,-inf"], r"line 2 .*score '-inf' is not a number"),
        (["1.png,x,5", "1.png,x,6"], r"line 3: 'images/1.png' has a score already, in line 2"),
        (["../labels.csv,x,5"], r"line 2: '../labels.csv' is not the name of a file below"),
        (["/etc/passwd,x,5"], r"line 2: '/etc/passwd' is not the name of a file below"),
        ([",x,5"], r"line 2: '' is not the name of a file"),
        ([], "has no row"),
    ],
)
def test_a_wrong_row_is_named(table, rows, message):
    with pytest.raises(ValueError, match=message):
        find_scored_images(table(*rows))


def test_a_missing_file_is_named(table):
    with pytest.raises(FileNotFoundError, match=r"line 3: no image '99.png' in"):
        find_scored_images(table("1.png,x,5", "99.png,x,5"))


@pytest.mark.parametrize(
    ("header", "column"), [("file,score", "filename"), ("filename,mos", "score")]
)
def test_a_missing_column_is_named(table, header, column):
    with pytest.raises(ValueError, match=f"has no column '{column}', only"):
        find_scored_images(table("1.png,5", header=header))


def test_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .*labels.csv; it needs the columns"):
        find_scored_images(tmp_path)


@pytest.mark.real_data
@pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set")
def test_the_real_scores():
    root = Path(os.environ["DATA_DIR"]) / "scores"
    files = find_scored_images(root)
    with (root / "labels.csv").open(newline="") as file:
        rows = {f"images/{row['filename']}": float(row["score"]) for row in csv.DictReader(file)}
    assert dict(zip(files.paths, files.targets, strict=True)) == rows
    assert len(rows) == 1162
