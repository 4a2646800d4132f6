"""Predict image files with a finished run, one record per image, in constant memory.

An image that cannot be read becomes a record with an error; the others are predicted.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from alexlab.data.decode import BrokenImage
from alexlab.errors import printable
from alexlab.evaluation.inference import predicted
from alexlab.evaluation.loading import LoadedRun, load_run

Record = dict[str, Any]  # path; predictions [{class, probability}], or score, or error


def predict(
    net: LoadedRun,
    paths: Iterable[Path],
    *,
    top: int,
    crops: int,
    flat: Callable[[Path], None] = lambda path: None,
) -> Iterator[Record]:
    """Yield one record per image, in order; for `flat` see `inference.predicted`."""
    for path, outputs in predicted(paths, net.crops(crops), net.predict, flat=flat):
        record: Record = {"path": str(path)}
        if isinstance(outputs, BrokenImage):
            record["error"] = str(outputs)
        elif not net.classes:
            record["score"] = outputs.item()
        else:
            probs, order = outputs.sort(descending=True, stable=True)
            pairs = zip(order[:top].tolist(), probs[:top].tolist(), strict=True)
            record["predictions"] = [{"class": net.classes[k], "probability": p} for k, p in pairs]
        yield record


def record_printer(format: str, classes: Sequence[str], top: int) -> Callable[[Record], None]:
    """Return a function that prints a record as `table`, `csv` or `jsonl` on standard output.

    In a table the path comes last, because its length is not known beforehand. Control characters
    are escaped in a table and on a terminal.
    """
    numbers = range(1, min(top, len(classes)) + 1)
    names = [f"{k}_{i}" for i in numbers for k in ("class", "probability")] or ["score"]
    width = max(map(len, classes), default=0)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    shown = printable if format == "table" or sys.stdout.isatty() else str
    if format == "csv":
        rows.writerow(["path", *names, "error"])

    def print_record(record: Record) -> None:
        path, error = shown(record["path"]), shown(record.get("error", ""))
        values = [f"{record['score']:.3f}"] if "score" in record else []
        for prediction in record.get("predictions", []):
            values += [shown(prediction["class"]), f"{prediction['probability']:.4f}"]
        if format == "jsonl":
            print(json.dumps(record, ensure_ascii=sys.stdout.isatty()))
        elif format == "csv":
            rows.writerow([path, *(values or [""] * len(names)), error])
        else:
            padded = [f"{value:<{width}}" for value in values]
            print(*(padded or [f"broken: {error}"]), path, sep="  ")

    return print_record


def print_predictions(
    run: Path, paths: Iterable[Path], count: int | None, *, format: str, top: int, crops: int
) -> int:
    """Print the predictions of `count` images as `table`, `csv` or `jsonl`, with a progress bar.

    Returns:
        The number of broken images, which are also named on standard error.
    """
    net = load_run(run)
    print_record = record_printer(format, net.classes, top)
    console = Console(stderr=True)
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    no_bar = not console.is_terminal
    broken = 0
    flat: list[Path] = []
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, disable=no_bar
    ) as bar:
        for record in bar.track(
            predict(net, paths, top=top, crops=crops, flat=flat.append), total=count
        ):
            if "error" in record:
                broken += 1
                text = printable(f"{record['path']}: {record['error']}")
                print(f"broken: {text}", file=sys.stderr)
            print_record(record)
    if flat:
        print(
            f"note: {len(flat):,} images decode to nearly one colour, first {str(flat[0])!r}",
            file=sys.stderr,
        )
    return broken
