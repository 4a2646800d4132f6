"""Print the header and the summary of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from alexlab.data.datamodule import ImageFolderData
from alexlab.errors import printable
from alexlab.models.summary import Summary
from alexlab.reporting.formatting import format_metric

MAX_CLASSES = 12  # with more, only the totals are printed


def print_run_header(
    summary: Summary, data: ImageFolderData, settings: str, device: str, folder: Path
) -> None:
    """Print model, data with counts per class and split, settings, device and folder."""
    console = _console()
    console.print(f"model     {summary.headline()}")
    console.print(f"data      {printable(data.name)}, {data.resolution} px")
    console.print(_counts(data.counts))
    for note in data.notes:
        console.print(f"          {printable(note)}")
    console.print(f"settings  {settings}")
    console.print(f"device    {device}")
    console.print(f"folder    {printable(folder)}\n")


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
    console.print(f"{epochs}   {record['wall_s']:.1f} s{rate}")
    console.print(str(folder))


def _console() -> Console:
    # file and class names are printed as they are
    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
