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
        (["1.png,x,1_0"], r"line 2 .*score '1_0' is not a number from 1 to 10"),
        (['1.png,x,"2,5"'], r"line 2 .*score '2,5' has a decimal comma; write a point"),
        (["1.png,x,5", "./1.png,x,6"], r"line 3: 'images/1.png' has a score already, in line 2"),
        (['"1.png,x,5', "2.png,x,6"], r"line 3: '1.png,x,5.n2.png.*is a quote missing\?"),
        (
            ['"' + "1.png " * 1000 + '",x,5'],
            r"line 2: '1.png .{,40}'\.\.\. is not the name of a file",
        ),
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


def test_a_column_that_is_there_twice_is_refused(table):
    with pytest.raises(ValueError, match=r"several columns 'score'; rename all but one"):
        find_scored_images(table("1.png,5,6", header="filename,score,score"))


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


def test_the_range_of_scores_is_the_task_s(compose, table, tmp_path):
    from alexlab import factory

    root = table(*(f"{i}.png,x,{5 * i}" for i in range(20)))  # 0 to 95
    settings = ["data=scores", f"data.root={root}", f"cache_dir={tmp_path / 'cache'}"]
    settings += ["data.resolution=8", "data.batch_size=4", "task=regression"]
    data = factory.data_module(compose(*settings, "task.low=0", "task.high=100"))
    assert sorted(data.targets.tolist()) == [5.0 * i for i in range(20)]
    with pytest.raises(ValueError, match=r"'0' is not a number from 1 to 10; task.low and task"):
        factory.data_module(compose(*settings))
    with pytest.raises(ValueError, match="'95' is not a number from 0 to 90"):
        factory.data_module(compose(*settings, "task.low=0", "task.high=90"))


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-16", " is not UTF-8 but UTF-16; save it as UTF-8"),
        ("utf-16-be", None),
        ("latin-1", " is not UTF-8; save it as UTF-8"),
        ("gb18030", " is not UTF-8; save it as UTF-8"),
    ],
)
def test_a_table_that_is_not_utf8_is_named(table, encoding, said):
    root = table("1.png,\u00e9,5")
    text = (root / "labels.csv").read_text()
    (root / "labels.csv").write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match=r"labels\.csv") as caught:
        find_scored_images(root)
    assert said is None or said in str(caught.value)


def test_an_excel_file_as_table_is_named(table):
    root = table()
    (root / "labels.csv").write_bytes(b"PK\x03\x04\x14\x00\xff\xfe")
    with pytest.raises(ValueError, match="is not UTF-8 but a zip file; save it as UTF-8"):
        find_scored_images(root)


def test_a_manifest_that_is_not_utf8_is_named(table, tmp_path):
    from alexlab.data.check import examine

    root = table(*(f"{i}.png,x,5" for i in range(20)))
    (root / "manifest.csv").write_bytes("path,neardup_group\n\u00e9,1\n".encode("latin-1"))
    data = ScoresData(
        str(root), name="scores", resolution=8, batch_size=4, cache_dir=str(tmp_path / "cache")
    )
    with pytest.raises(ValueError, match=r"manifest\.csv is not UTF-8; save it as UTF-8"):
        examine(data)


def test_rows_without_any_entry_are_passed_over(table):
    assert find_scored_images(table("1.png,x,5", ",,", "", "2.png,x,6", ",,")).targets == [5, 6]


def test_a_huge_field_or_table_is_refused(table):
    with pytest.raises(ValueError, match=r"labels.csv is not a CSV file: field larger"):
        find_scored_images(table(f"1.png,{'x' * 200_000},5"))
    root = table("1.png,x,5")
    with (root / "labels.csv").open("r+b") as file:
        file.truncate(10**12)  # a hole: it takes no space
    with pytest.raises(ValueError, match=r"labels.csv has 1,000,000 MB, more than 200"):
        find_scored_images(root)
