"""What a run says: what it is about to do, and what came out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from alexlab.data.datamodule import ImageFolderData
from alexlab.models.summary import Summary
from alexlab.reporting.formatting import format_metric


def print_run_header(
    summary: Summary, data: ImageFolderData, how: str, device: str, folder: Path
) -> None:
    """Print model, data with counts per class and split, settings, device and folder."""
    console = _console()
    console.print(f"model   {summary.headline()}")
    console.print(f"data    {data.name}, {data.resolution} px")
    console.print(_counts(data.counts))
    for note in data.notes:
        console.print(f"        {note}")
    console.print(f"how     {how}")
    console.print(f"device  {device}")
    console.print(f"folder  {folder}\n")


def _counts(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """Classes down, splits across; past a dozen classes only the totals."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False)
    table.add_column(" " * 7)
    table.add_column("class")
    for split in counts:
        table.add_column(split, justify="right")
    classes = counts["train"]
    for name in classes if len(classes) <= 12 else []:
        table.add_row("", name, *(str(side[name]) for side in counts.values()))
    totals = (str(sum(side.values())) for side in counts.values())
    table.add_row("", f"{len(classes)} classes" if len(classes) > 1 else "images", *totals)
    return table


def print_run_summary(record: Mapping[str, Any], folder: Path) -> None:
    """Print the small table at the end: val at the best epoch, test there, time, folder."""
    metrics, speed = record["metrics"], record["images_per_s"]
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False)
    table.add_column("")
    for split in ("val", "test"):
        table.add_column(split, justify="right")
    for name in [name.removeprefix("val/") for name in metrics if name.startswith("val/")]:
        cells = (metrics.get(f"{split}/{name}") for split in ("val", "test"))
        table.add_row(name, *("-" if v is None else format_metric(name, v) for v in cells))
    console = _console()
    console.print()
    if table.row_count:
        console.print(table)
    epochs = f"best epoch {record['best_epoch'] or '-'} of {record['epochs']}"
    rate = f"   {speed:.0f} images/s" if speed else ""
    console.print(f"{epochs}   {record['wall_s']:.1f} s{rate}")
    console.print(str(folder))


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False)  # names stay names
