"""Images with one score each, from `labels.csv` beside them, for regression."""

import csv
import math
import os
from pathlib import Path

from alexlab.data.datamodule import ImageFolderData
from alexlab.data.files import EXTENSIONS, ImageFiles, inodes_and_changes, sizes_and_times

FILE, SCORE = "filename", "score"
LOW, HIGH = 1.0, 10.0


class ScoresData(ImageFolderData):
    """Load `root/labels.csv` (columns filename, score); images are in root/images/ or root/."""

    def find_files(self) -> ImageFiles:
        """List the images of the table."""
        return find_scored_images(self.folder())


def find_scored_images(root: Path) -> ImageFiles:
    """Read `root/labels.csv`; other columns are ignored.

    Raises:
        ValueError: A missing column, a file named twice, or a score that is not in [1, 10].
        FileNotFoundError: No table, or a file that it names does not exist.
    """
    table = root / "labels.csv"
    if not table.is_file():
        raise FileNotFoundError(f"no {table}; it needs the columns {FILE} and {SCORE}")
    rows: dict[str, tuple[int, float]] = {}
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        for column in (FILE, SCORE):
            if column not in (reader.fieldnames or []):
                raise ValueError(f"{table} has no column {column!r}, only {reader.fieldnames}")
        for row in reader:
            where = f"{table} line {reader.line_num}"
            path = _locate(root, row[FILE], where)
            if path in rows:
                raise ValueError(f"{where}: {path!r} has a score already, in line {rows[path][0]}")
            rows[path] = (reader.line_num, _score(row[SCORE], f"{where} ({path!r})"))
    if not rows:
        raise ValueError(f"{table} has no row")
    paths = sorted(rows)
    stats = [os.stat(root / path) for path in paths]
    scores = [rows[path][1] for path in paths]
    numbers, identity = sizes_and_times(stats), inodes_and_changes(stats)
    return ImageFiles(root, paths, numbers, scores, [], [""] * len(paths), [], identity)


def _locate(root: Path, name: str | None, where: str) -> str:
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{where}: {name!r} is not the name of a file below {root}")
    for path in (f"images/{name}", name):
        if (root / path).is_file() and Path(path).suffix[1:].lower() in EXTENSIONS:
            return path
    raise FileNotFoundError(f"{where}: no image {name!r} in {root / 'images'} or {root}")


def _score(text: str | None, where: str) -> float:
    try:
        score = float(text or "nan")
    except ValueError:
        score = math.nan
    if not LOW <= score <= HIGH:
        raise ValueError(f"{where}: score {text!r} is not a number from {LOW:g} to {HIGH:g}")
    return score
