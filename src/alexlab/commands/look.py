"""Draw filters, feature maps and Grad-CAM of a finished run: `alexlab look RUN_DIR`.

Writes to RUN_DIR/look: filters.png (the kernels of the first convolution), feature_maps.png (the
feature maps with the strongest response, per image and layer) and gradcam.png (the regions of an
image that increase the predicted class).
"""

from alexlab.commands.arguments import add_data_settings, add_run_dir, command_parser
from alexlab.errors import user_errors
from alexlab.reporting.console import path_link
from alexlab.runs.locate import resolve_run_dir


def main() -> None:
    """Run `alexlab look`."""
    parser = command_parser("look", __doc__)
    add_run_dir(parser)
    parser.add_argument(
        "--test",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="indices in the test set, from 0 (default: the first image of each class, at most 8)",
    )
    add_data_settings(parser)
    options = parser.parse_args()
    with user_errors():
        run = resolve_run_dir(options.run)

        from alexlab.evaluation.loading import load_run  # torch takes seconds
        from alexlab.evaluation.look import look

        pictures = look(load_run(run), options.test, options.data)
    print(*map(path_link, pictures), sep="\n")
