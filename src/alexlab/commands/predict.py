"""What a trained net sees in images: `alexlab predict RUN_DIR IMAGE|FOLDER|-`.

A folder, of any size, is taken with all that is below it; `-` reads paths from standard input, one
a line. RUN_DIR may be best:SWEEP_DIR. An image that cannot be read is named on standard error and
in the output, the rest goes on, and the exit code is 1 in the end.
"""

import argparse
import csv
import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexlab.errors import user_errors
from alexlab.runs import locate

if TYPE_CHECKING:  # torch is imported when there is something to do
    from alexlab.evaluation.loading import LoadedRun

Record = dict[str, Any]  # path; predictions [{class, probability}], or score, or error


def predict(net: "LoadedRun", paths: Iterable[Path], *, top: int, crops: int) -> Iterator[Record]:
    """One record an image, in order, as they are known."""
    from alexlab.data.decode import BrokenImage
    from alexlab.evaluation.inference import predicted

    for path, found in predicted(paths, net.crops(crops), net.predict):
        record: Record = {"path": str(path)}
        if isinstance(found, BrokenImage):
            record["error"] = str(found)
        elif not net.classes:
            record["score"] = found.item()
        else:
            probs, order = found.sort(descending=True, stable=True)
            pairs = zip(order[:top].tolist(), probs[:top].tolist(), strict=True)
            record["predictions"] = [{"class": net.classes[k], "probability": p} for k, p in pairs]
        yield record


def images_in(folder: Path) -> Iterator[Path]:
    """Every visible image by name below `folder`, in order; the names of one folder are held."""
    from alexlab.data.files import EXTENSIONS

    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in sorted(files) if not name.startswith(".")):
            if path.name.rpartition(".")[2].lower() in EXTENSIONS and not _is_special(path):
                yield path


def _is_special(path: Path) -> bool:
    """Whether it is a pipe or a device, which would hang; what cannot be seen is named later."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def named(what: str) -> tuple[Iterable[Path], int | None]:
    """The images that `what` stands for, and how many there are, where that is known.

    Raises:
        FileNotFoundError: No such file or folder, or a folder without images.
    """
    if what == "-":
        return (Path(line) for line in map(str.strip, sys.stdin) if line), None
    path = Path(what)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not path.is_dir():
        return [path], 1
    count = sum(1 for _ in images_in(path))
    if not count:
        raise FileNotFoundError(f"{path}: no image in it")
    return images_in(path), count


def printer(format: str, net: "LoadedRun", top: int) -> Callable[[Record], None]:
    """What prints a record; in a table the path comes last: nobody knows how long it is."""
    numbers = range(1, min(top, len(net.classes)) + 1)
    names = [f"{k}_{i}" for i in numbers for k in ("class", "probability")] or ["score"]
    width = max(map(len, net.classes), default=0)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    if format == "csv":
        rows.writerow(["path", *names, "error"])

    def write(record: Record) -> None:
        path, error = record["path"], record.get("error", "")
        values = [f"{record['score']:.3f}"] if "score" in record else []
        for found in record.get("predictions", []):
            values += [found["class"], f"{found['probability']:.4f}"]
        if format == "jsonl":
            print(json.dumps(record, ensure_ascii=False))
        elif format == "csv":
            rows.writerow([path, *(values or [""] * len(names)), error])
        else:
            padded = [f"{value:<{width}}" for value in values]
            print(*(padded or [f"broken: {error}"]), path, sep="  ")

    return write


def run_on(run: Path, options: argparse.Namespace) -> int:
    """Predict and print; how many images were broken."""
    paths, count = named(options.images)

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from alexlab.evaluation import loading

    net = loading.load_run(run)
    write = printer(options.format, net, options.top)
    console = Console(stderr=True)
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    off = not console.is_terminal
    broken = 0
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, disable=off
    ) as bar:
        records = predict(net, paths, top=options.top, crops=options.crops)
        for record in bar.track(records, total=count):
            if "error" in record:
                broken += 1
                print(f"broken: {record['path']}: {record['error']}", file=sys.stderr)
            write(record)
    return broken


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = locate.parser("predict", __doc__)
    parser.add_argument("images", metavar="IMAGE|FOLDER|-", help="an image, a folder, or stdin")
    parser.add_argument("--format", choices=("table", "csv", "jsonl"), default="table")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="classes an image (3)")
    parser.add_argument("--crops", type=int, default=1, choices=(1, 10, 144), help="views an image")
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be Unicode
    if options.top < 1:
        parser.error("--top must be at least 1")
    with user_errors():
        try:
            sys.exit(1 if run_on(locate.resolve_run_dir(options.run), options) else 0)
        except BrokenPipeError:  # the reader, head for one, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)


if __name__ == "__main__":
    main()
