"""Print the header and the summary of a run, within 80 columns."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from alexlab.data.datamodule import ImageFolderData
from alexlab.errors import printable
from alexlab.models.summary import Summary
from alexlab.reporting.console import path_link
from alexlab.reporting.formatting import format_duration, format_metric

COLUMNS = 80  # default width of a terminal
MAX_CLASSES = 12  # with more, only the totals are printed


def print_run_header(
    summary: Summary, data: ImageFolderData, settings: str, device: str, folder: Path
) -> None:
    """Print model, data with images per class and split, settings, device and folder."""
    print(_field("model", summary.headline()))
    print(_field("data", f"{data.name}, {data.resolution} px"))
    _console().print(_counts(data.counts))
    for note in data.notes:
        print(_field("", note))
    print(_field("settings", settings))
    print(_field("device", device))
    print(f"folder    {path_link(folder)}\n", flush=True)


def _field(name: str, text: str) -> str:
    """Return a field of the header, with a line break before a word that passes column 80."""
    return textwrap.fill(
        printable(text),
        COLUMNS,
        initial_indent=f"{name:<10}",
        subsequent_indent=" " * 10,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _counts(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """Return a table of images: one row per class, one column per split, and the totals."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False)
    table.add_column(" " * 9)
    table.add_column("class")
    for split in counts:
        table.add_column(split, justify="right")
    classes = counts["train"]
    for name in classes if len(classes) <= MAX_CLASSES else []:
        table.add_row("", printable(name), *(str(images[name]) for images in counts.values()))
    totals = (str(sum(images.values())) for images in counts.values())
    table.add_row("", f"{len(classes)} classes" if len(classes) > 1 else "images", *totals)
    return table


def print_run_summary(record: Mapping[str, Any], folder: Path) -> None:
    """Print the results: val at the best epoch, test with its weights, time and folder."""
    metrics, speed = record["metrics"], record["images_per_s"]
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False)
    table.add_column("")
    for split in ("val", "test"):
        table.add_column(split, justify="right")
    for name in [name.removeprefix("val/") for name in metrics if name.startswith("val/")]:
        values = (metrics.get(f"{split}/{name}") for split in ("val", "test"))
        table.add_row(name, *("-" if v is None else format_metric(name, v) for v in values))
    console = _console()
    console.print()
    if table.row_count:
        console.print(table)
    epochs = f"best epoch {record['best_epoch'] or '-'} of {record['epochs']}"
    rate = f"   {speed:.0f} images/s" if speed else ""
    console.print(f"{epochs}   {format_duration(record['wall_s'])}{rate}")
    print(path_link(folder), flush=True)


def _console() -> Console:
    # print file and class names without Rich's markup
    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
