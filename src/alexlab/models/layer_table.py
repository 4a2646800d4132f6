"""Format tables of a network's layers, and of its counts next to the published ones."""

from typing import Any

from rich.table import Column, Table

from alexlab.models.summary import Summary, short

PLAIN: Any = {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)}  # a table without lines


def layer_table(summary: Summary) -> Table:
    """Return a table with one row per layer, and the totals."""
    numbers = ("parameters", "neurons", "multiply-adds", "sees", "stride")
    right = (Column(name, justify="right") for name in numbers)
    table = Table("layer", "kind", "output", *right, **PLAIN)
    for row in summary.rows:
        counts = [f"{n:,}" if n else "" for n in (row.params, row.neurons, row.macs)]
        field = [f"{side} px" for side in row.field or ()]
        whole = "all" if len(row.output_shape) == 1 else ""
        table.add_row(
            row.name, row.kind, format_shape(row.output_shape), *counts, *(field or [whole])
        )
    totals = (summary.params, summary.neurons, summary.macs)
    table.add_row("total", "", "", *(f"{total:,}" for total in totals), style="bold")
    return table


def format_shape(shape: tuple[int, ...]) -> str:
    """Format the shape (96, 55, 55) as 55x55x96, the notation of articles."""
    return "x".join(map(str, [*shape[1:], shape[0]]))


def published_table(summary: Summary, published: dict[str, str]) -> Table:
    """Return a table of this network's counts next to those of its article."""
    own = {
        "parameters": short(summary.params),
        "neurons": short(summary.neurons),
        "weight layers": str(summary.weight_layers),
    }
    table = Table("", *(Column(name, justify="right") for name in ("here", "published")), **PLAIN)
    for name, count in own.items():
        table.add_row(name, count, published[name])
    return table
