"""Load images with one score each from `labels.csv`, for regression."""

import csv
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alexlab.data.datamodule import ImageFolderData
from alexlab.data.files import (
    EXTENSIONS,
    ImageFiles,
    inodes_and_changes,
    sizes_and_times,
    suffix,
)

FILE, SCORE = "filename", "score"
MAX_NAME = 4096  # characters, the limit of a path on Linux
MAX_BYTES = 200_000_000  # of a table; this is more than a million rows


class ScoresData(ImageFolderData):
    """Load `root/labels.csv` (columns filename, score) with images in root/images/ or root/."""

    def find_files(self) -> ImageFiles:
        """List the images of the table."""
        return find_scored_images(self.folder(), *self.score_range)


def find_scored_images(root: Path, low: float = 1.0, high: float = 10.0) -> ImageFiles:
    """Read `root/labels.csv`; ignore other columns and empty rows.

    Raises:
        ValueError: If a column is missing or ambiguous, a file is listed twice, a score is not in
            [low, high], or the table cannot be read.
        FileNotFoundError: If the table or a listed file does not exist.
    """
    table = root / "labels.csv"
    if not table.is_file():
        raise FileNotFoundError(f"no {table}; it needs the columns {FILE} and {SCORE}")
    rows: dict[str, tuple[int, float]] = {}
    with readable_table(table) as reader:
        for column in (FILE, SCORE):
            if column not in (names := list(reader.fieldnames or [])):
                raise ValueError(f"{table} has no column {column!r}, only {names}")
            if names.count(column) > 1:
                raise ValueError(f"{table} has several columns {column!r}; rename all but one")
        for row in reader:
            if not any(row.values()):  # spreadsheets write empty rows
                continue
            where = f"{table} line {reader.line_num}"
            path = _locate(root, row[FILE], where)
            if path in rows:
                raise ValueError(f"{where}: {path!r} has a score already, in line {rows[path][0]}")
            score = _score(row[SCORE], f"{where} ({path!r})", low, high)
            rows[path] = (reader.line_num, score)
    if not rows:
        raise ValueError(f"{table} has no row")
    paths = sorted(rows)
    stats = [os.stat(root / path) for path in paths]
    scores = [rows[path][1] for path in paths]
    numbers, identity = sizes_and_times(stats), inodes_and_changes(stats)
    return ImageFiles(root, paths, numbers, scores, [], [""] * len(paths), [], identity)


@contextmanager
def readable_table(path: Path) -> Iterator["csv.DictReader[str]"]:
    """Open a CSV file as a DictReader.

    Raises:
        ValueError: If the file is larger than `MAX_BYTES`, not UTF-8 or not CSV; also while the
            block reads it.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path} has {size / 1e6:,.0f} MB, more than {MAX_BYTES / 1e6:,.0f}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield csv.DictReader(file)
    except UnicodeDecodeError as error:
        found = next((name for mark, name in MARKS.items() if error.object.startswith(mark)), "")
        raise ValueError(
            f"{path} is not UTF-8{found}; save it as UTF-8 (in a spreadsheet: CSV UTF-8)"
        ) from None
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from None


MARKS = {b"\xff\xfe": " but UTF-16", b"\xfe\xff": " but UTF-16", b"PK\x03\x04": " but a zip file"}


def _locate(root: Path, name: str | None, where: str) -> str:
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{where}: {name!r} is not the name of a file below {root}")
    if "\n" in name or len(name) > MAX_NAME:
        raise ValueError(
            f"{where}: {name[:40]!r}... is not the name of a file; is a quote missing?"
        )
    name = Path(name).as_posix()  # also turns ./a.png into a.png
    for path in (f"images/{name}", name):
        if (root / path).is_file() and suffix(path) in EXTENSIONS:
            return path
    raise FileNotFoundError(f"{where}: no image {name!r} in {root / 'images'} or {root}")


def _score(text: str | None, where: str, low: float, high: float) -> float:
    try:
        score = float((text or "nan").replace("_", "?"))  # Python reads 1_0 as 10
    except ValueError:
        score = math.nan
    if text and re.fullmatch(r"\s*-?\d*,\d+\s*", text):
        raise ValueError(f"{where}: score {text!r} has a decimal comma; write a point")
    if not low <= score <= high:
        raise ValueError(
            f"{where}: score {text!r} is not a number from {low:g} to {high:g}; task.low and"
            " task.high set this range"
        )
    return score
