"""Predictions of a real run on files: formats, broken images, streams."""

import csv
import io
import itertools
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from alexlab.evaluation import loading
from alexlab.evaluation.predict import predict


@pytest.fixture
def images(tmp_path, image_folder):
    """Two images below a folder, a broken one, and files that are passed over."""
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for i, name in enumerate(["b.png", "deep/c.JPG"]):
        Image.new("RGB", (80, 60), (200, 40 * i, 40)).save(folder / name)
    (folder / "a.png").write_bytes(b"no image")
    for name in (".hidden.png", "notes.txt"):
        (folder / name).write_text("")
    os.mkfifo(folder / "pipe.png")
    return folder


@pytest.fixture
def run(alexlab, class_run, capfd):
    """run(images, ...) -> exit code, standard output, standard error."""

    def call(*arguments, of=class_run):
        with pytest.raises(SystemExit) as end:
            alexlab("predict", of, *arguments)
        return end.value.code, *capfd.readouterr()

    return call


def test_csv_has_a_row_an_image_in_order_and_names_the_broken_one(run, images, class_run):
    code, out, err = run(images, "--format", "csv", "--top", "2")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["path"] for row in rows] == [
        f"{images}/{n}" for n in ("a.png", "b.png", "deep/c.JPG")
    ]
    assert list(rows[0]) == [
        "path",
        "class_1",
        "probability_1",
        "class_2",
        "probability_2",
        "error",
    ]
    assert rows[0]["error"] == "not an image in a known format"
    said = err.splitlines()
    assert said[0] == f"broken: {images}/a.png: not an image in a known format"
    assert said[1].startswith("note: 2 images decode to nearly one colour")  # they do here
    assert said[2].startswith("note: 3 files not read (1 hidden, 1 .txt, 1 .png), first")
    assert code == 1
    assert rows[1]["error"] == ""
    net = loading.load_run(class_run)
    square = Image.new("RGB", (36, 36), (200, 0, 40))
    probs = net.predict(torch.from_numpy(np.array(square)).permute(2, 0, 1)[None])
    best = probs[0].topk(2)
    assert [rows[1]["class_1"], rows[1]["class_2"]] == [net.classes[i] for i in best.indices]
    assert float(rows[1]["probability_1"]) == pytest.approx(best.values[0].item(), abs=1e-4)


def test_json_lines_and_table_say_the_same(run, images):
    code, out, _ = run(images / "b.png", "--format", "jsonl")
    (line,) = out.splitlines()
    record = json.loads(line)
    assert code == 0
    assert len(record["predictions"]) == 3
    first = record["predictions"][0]
    code, out, _ = run(images / "b.png")
    name, probability, *_, path = out.split()
    assert (name, float(probability)) == (
        first["class"],
        pytest.approx(first["probability"], abs=1e-4),
    )
    assert path == record["path"]


def test_a_score_is_printed_for_regression(run, images, score_run):
    code, out, _ = run(images / "b.png", "--format", "csv", of=score_run)
    assert code == 0
    assert out.splitlines()[0] == "path,score,error"
    assert 1 <= float(out.splitlines()[1].split(",")[1]) <= 10


def test_paths_come_from_standard_input(run, images, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{images}/b.png\n\n{images}/none.png\n"))
    code, out, err = run("-", "--format", "jsonl", "--top", "1")
    assert [json.loads(line)["path"] for line in out.splitlines()] == [
        f"{images}/b.png", f"{images}/none.png"]  # fmt: skip
    assert "none.png: No such file or directory" in err
    assert code == 1


def test_what_a_folder_has_is_an_image_or_named(run, images):
    (images / "dangling.png").symlink_to("nowhere")
    (images / "loop.png").symlink_to("loop.png")
    code, out, err = run(str(images), "--format", "jsonl", "--top", "1")
    assert "dangling.png: No such file" in err
    assert "loop.png: Too many levels" in err
    assert "pipe.png" not in out + err
    assert code == 1


def test_any_number_of_images_is_streamed(class_run, images):
    """An endless folder gives its first predictions; few images are read ahead."""
    taken = itertools.count()
    endless = (images / "b.png" for _ in taken)
    stream = predict(loading.load_run(class_run), endless, top=1, crops=1)
    assert [record["path"] for record in itertools.islice(stream, 600)] == [f"{images}/b.png"] * 600
    assert next(taken) < 1200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.png"], "none.png: no such file or folder"),
        (["."], "no image in it"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 1
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
