"""What a run prints at its start and at its end, line by line."""

from types import SimpleNamespace

from alexlab.training.console import print_run_header, print_run_summary

LONG = "a note of more than eighty characters, which goes on in a second line below its first word"


def lines(text):
    return [line.rstrip() for line in text.splitlines()]


def test_the_header_has_images_by_class_and_split_and_no_line_over_80_columns(capsys, tmp_path):
    data = SimpleNamespace(
        name="pets",
        resolution=64,
        counts={"train": {"cat": 100, "dog": 9}, "val": {"cat": 5, "dog": 12}},
        notes=[LONG],
    )
    summary = SimpleNamespace(headline=lambda: "Net 4 parameters")
    print_run_header(summary, data, "SGD lr 0.1", "cpu", tmp_path)
    assert lines(capsys.readouterr().out)[:-2] == [
        "model     Net 4 parameters",
        "data      pets, 64 px",
        "           class      train  val",
        "           cat          100    5",
        "           dog            9   12",
        "           2 classes    109   17",
        "          a note of more than eighty characters, which goes on in a second line",
        "          below its first word",
        "settings  SGD lr 0.1",
        "device    cpu",
    ]


def test_the_summary_has_val_and_test_under_each_other(capsys, tmp_path):
    metrics = {"val/loss": 1.5, "test/loss": 10.5, "val/acc": 0.5, "test/acc": 1.0}
    record = {"metrics": metrics, "images_per_s": 10.0, "best_epoch": 3, "epochs": 4, "wall_s": 12}
    print_run_summary(record, tmp_path)
    assert lines(capsys.readouterr().out)[:5] == [
        "",
        "         val     test",
        "loss    1.50     10.5",
        "acc    50.0%   100.0%",
        "best epoch 3 of 4   12 s   10 images/s",
    ]
