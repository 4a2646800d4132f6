"""Show a network layer by layer: `alexlab explain model=alexnet data.resolution=64`.

Nothing is trained, and no data set is read; so --outputs gives the number of classes (with
task=regression there is 1 output).
"""

from alexlab.commands.arguments import add_settings, command_parser, explain_setting
from alexlab.errors import user_errors

LEGEND = """
neurons: outputs of convolutions and linear layers. sees: side in pixels of the square of the image
that one value depends on. stride: distance in pixels between the squares of neighbouring values"""


def main() -> None:
    """Run `alexlab explain`."""
    parser = command_parser("explain", __doc__)
    add_settings(parser, "model=alexnet act=tanh")
    parser.add_argument("--outputs", type=int, default=5, metavar="N", help="classes (default 5)")
    options = parser.parse_args()
    with user_errors(explain_setting):
        from alexlab.runs.config import compose_config

        cfg = compose_config(options.settings)

        from alexlab.factory import untrained_network  # torch takes seconds
        from alexlab.models.layer_table import format_shape, layer_table, published_table
        from alexlab.models.summary import summarize
        from alexlab.reporting.console import wide_console

        net, shape = untrained_network(cfg, options.outputs)
        summary = summarize(net, **shape)
    console = wide_console()
    inputs, outputs = summary.rows[0].input_shape, summary.rows[-1].output_shape[0]
    console.print(f"{summary.name}, images {format_shape(inputs)}, {outputs} outputs\n")
    console.print(layer_table(summary))
    console.print(LEGEND)
    if summary.junction:
        console.print(f"last feature map -> first dense layer: {summary.junction}")
    if summary.notes:
        console.print(", ".join(summary.notes))
    if published := getattr(net, "published", {}):
        console.print(published_table(summary, published))
        console.print(published["where"])
