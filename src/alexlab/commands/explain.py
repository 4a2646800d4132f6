"""A net layer by layer: `alexlab explain model=alexnet data.resolution=64`.

Nothing is trained and no data set is needed, so that the number of outputs is not known: it is 5,
or what --outputs says (1 with task=regression).
"""

import argparse
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.table import Column, Table

from alexlab.data.representation import Representation
from alexlab.errors import user_errors
from alexlab.models.summary import Summary, short, summarize
from alexlab.runs import config as run_config
from hydra_plugins.hydra_study_sweeper._display import wide_console

PLAIN: Any = {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)}  # a table without lines


def explain(cfg: DictConfig, num_outputs: int) -> tuple[Summary, dict[str, str]]:
    """The net's summary, and what was published of it."""
    one = cfg.task._target_.endswith("Regression")
    task = instantiate(cfg.task, num_outputs=1 if one else num_outputs, _convert_="all")
    channels = Representation(cfg.data.representation).num_channels
    shape = {"in_channels": channels, "resolution": cfg.data.resolution}
    with torch.device("meta"):  # shapes only: no memory, whatever the net
        net = instantiate(cfg.model, num_outputs=task.num_outputs, **shape, _convert_="all")
    return summarize(net, **shape), getattr(net, "published", {})


def layers(summary: Summary) -> Table:
    """A row a layer, and the totals."""
    numbers = ("parameters", "neurons", "multiply-adds", "sees", "stride")
    right = (Column(name, justify="right") for name in numbers)
    table = Table("layer", "kind", "output", *right, **PLAIN)
    for row in summary.rows:
        counts = [f"{n:,}" if n else "" for n in (row.params, row.neurons, row.macs)]
        field = [f"{side} px" for side in row.field or ()]
        whole = "all" if len(row.output_shape) == 1 else ""
        table.add_row(row.name, row.kind, _times(row.output_shape), *counts, *(field or [whole]))
    totals = (summary.params, summary.neurons, summary.macs)
    table.add_row("total", "", "", *(f"{total:,}" for total in totals), style="bold")
    return table


def _times(shape: tuple[int, ...]) -> str:
    """(96, 55, 55) -> 55x55x96, as articles write it."""
    return "x".join(map(str, [*shape[1:], shape[0]]))


def comparison(summary: Summary, published: dict[str, str]) -> Table:
    """This net beside the article."""
    own = {
        "parameters": short(summary.params),
        "neurons": short(summary.neurons),
        "weight layers": str(summary.weight_layers),
    }
    table = Table("", *(Column(name, justify="right") for name in ("here", "published")), **PLAIN)
    for what, figure in own.items():
        table.add_row(what, figure, published[what])
    return table


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="alexlab explain")
    parser.add_argument("settings", nargs="*", help="as for src.train: model=alexnet act=tanh")
    parser.add_argument("--outputs", type=int, default=5, metavar="N", help="classes (default 5)")
    args = parser.parse_args(arguments)
    with user_errors():
        summary, published = explain(run_config.compose_config(args.settings), args.outputs)
    console = wide_console()
    inputs = _times(summary.rows[0].input_shape)
    console.print(f"{summary.name}, images {inputs}, {summary.rows[-1].output_shape[0]} outputs\n")
    console.print(layers(summary))
    console.print(
        "\nneurons: outputs of convolutions and linear layers. sees, stride: side of the square of"
        " the image\nthat one value depends on, and how far apart the squares of two neighbours are"
    )
    if summary.junction:
        console.print(f"last feature map -> first wide layer: {summary.junction}")
    if summary.notes:
        console.print(", ".join(summary.notes))
    if published:
        console.print(comparison(summary, published))
        console.print(published["where"])


if __name__ == "__main__":
    main()
