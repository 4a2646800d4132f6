"""What a run says: what it is about to do, and what came out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from src.callbacks.progress import shown
from src.models.summary import Summary

SPLITS = ("train", "val", "test")


def plan(
    summary: Summary,
    *,
    data_title: str,
    counts: Mapping[str, Mapping[str, int]],
    notes: Sequence[str],
    settings: str,
    device: str,
    folder: Path,
) -> None:
    """Print model, data with counts per class and split, settings, device and folder."""
    console = _console()
    console.print(f"model   {summary.headline()}")
    console.print(f"data    {data_title}")
    console.print(_counts(counts))
    for note in notes:
        console.print(f"        {note}")
    console.print(f"how     {settings}")
    console.print(f"device  {device}")
    console.print(f"folder  {folder}\n")


def _counts(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """Classes down, splits across; past a dozen classes only the totals."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False)
    table.add_column(" " * 7)
    table.add_column("class")
    for split in SPLITS:
        table.add_column(split, justify="right")
    classes = list(dict.fromkeys(name for split in SPLITS for name in counts.get(split, {})))
    for name in classes if len(classes) <= 12 else []:
        table.add_row("", name, *(str(counts.get(split, {}).get(name, 0)) for split in SPLITS))
    totals = (str(sum(counts.get(split, {}).values())) for split in SPLITS)
    table.add_row("", f"{len(classes)} classes" if len(classes) > 1 else "images", *totals)
    return table


def outcome(record: Mapping[str, Any], folder: Path) -> None:
    """Print the small table at the end: val at the best epoch, test there, time, folder."""
    metrics = record.get("metrics", {})
    names = [name.split("/")[1] for name in metrics if name.startswith("val/")]
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False)
    table.add_column("")
    for split in ("val", "test"):
        table.add_column(split, justify="right")
    for name in names:
        cells = (metrics.get(f"{split}/{name}") for split in ("val", "test"))
        table.add_row(name, *("-" if v is None else shown(name, v) for v in cells))
    console = _console()
    console.print()
    if names:
        console.print(table)
    speed = record.get("images_per_s")
    parts = [
        f"best epoch {record.get('best_epoch', '-')} of {record.get('epochs', 0)}",
        f"{record.get('wall_s', 0):.1f} s",
        f"{speed:.0f} images/s" if speed else "",
    ]
    console.print("   ".join(part for part in parts if part))
    console.print(str(folder))


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False)  # names stay names
