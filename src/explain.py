"""A net layer by layer: `python -m src.explain model=alexnet data.resolution=64`.

Nothing is trained and no data set is needed, so that the number of outputs is not known: it is 5,
or what --outputs says (1 with task=regression).
"""

import argparse
import sys

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.table import Table

from hydra_plugins._study_board import wide_console
from src import run_config
from src.data.representation import Representation
from src.errors import in_short
from src.models.summary import Row, Summary, short, summarize

COLUMNS = ("layer", "kind", "output", "parameters", "neurons", "multiply-adds", "sees", "stride")


def explain(cfg: DictConfig, num_outputs: int) -> tuple[Summary, dict[str, str]]:
    """The net's summary, and what was published of it."""
    one = cfg.task._target_.endswith("Regression")
    task = instantiate(cfg.task, num_outputs=1 if one else num_outputs, _convert_="all")
    channels = Representation(cfg.data.representation).num_channels
    side = cfg.data.resolution
    shape = {"in_channels": channels, "resolution": side}
    with torch.device("meta"):  # shapes only: no memory, whatever the net
        net = instantiate(cfg.model, num_outputs=task.num_outputs, **shape, _convert_="all")
    return summarize(net, **shape), getattr(net, "published", {})


def layers(summary: Summary) -> Table:
    """A row a layer, and the totals."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in COLUMNS[:3] else "right")
    for row in summary.rows:
        table.add_row(row.name, row.kind, _times(row.output_shape), *_counts(row), *_field(row))
    totals = (summary.params, summary.neurons, summary.macs)
    table.add_row("total", "", "", *(f"{total:,}" for total in totals), style="bold")
    return table


def _times(shape: tuple[int, ...]) -> str:
    """(96, 55, 55) -> 55x55x96, as articles write it."""
    return "x".join(map(str, [*shape[1:], shape[0]]))


def _counts(row: Row) -> list[str]:
    return [f"{count:,}" if count else "" for count in (row.params, row.neurons, row.macs)]


def _field(row: Row) -> list[str]:
    if row.field is None:
        return ["all" if len(row.output_shape) == 1 else "", ""]
    return [f"{row.field[0]} px", f"{row.field[1]} px"]


def comparison(summary: Summary, published: dict[str, str]) -> Table:
    """This net beside the article."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("", "here", "published"):
        table.add_column(column, justify="right" if column else "left")
    own = {
        "parameters": short(summary.params),
        "neurons": short(summary.neurons),
        "weight layers": str(summary.weight_layers),
    }
    for what, figure in own.items():
        table.add_row(what, figure, published[what])
    return table


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m src.explain")
    parser.add_argument("settings", nargs="*", help="as for src.train: model=alexnet act=tanh")
    parser.add_argument("--outputs", type=int, default=5, metavar="N", help="classes (default 5)")
    args = parser.parse_args(arguments)
    try:
        with initialize_config_dir(str(run_config.CONF), version_base="1.3"):
            cfg = compose("train", args.settings)
        summary, published = explain(cfg, args.outputs)
    except Exception as error:
        print(f"error: {in_short(error)}", file=sys.stderr)
        sys.exit(1)
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
