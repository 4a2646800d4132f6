"""Classify images with a finished run: `alexlab predict RUN_DIR IMAGE|FOLDER|-`.

A folder is read with all folders below it, links included; other files than images are counted.
`-` reads paths from standard input, one per line. RUN_DIR may be best:SWEEP_DIR. An image that
cannot be read is named on standard error and in the output; the other images are predicted, and the
exit code is 1.
"""

import io
import os
import sys

from alexlab.commands.arguments import add_crops, add_run_dir, command_parser
from alexlab.errors import printable, user_errors
from alexlab.evaluation.image_paths import find_images
from alexlab.runs.locate import resolve_run_dir


def main() -> None:
    """Run `alexlab predict`."""
    parser = command_parser("predict", __doc__)
    add_run_dir(parser)
    parser.add_argument("images", metavar="IMAGE|FOLDER|-", help="an image, a folder, or stdin")
    parser.add_argument("--format", choices=("table", "csv", "jsonl"), default="table")
    parser.add_argument("--top", type=int, default=3, metavar="K", help="classes per image (3)")
    add_crops(parser, several=False)
    options = parser.parse_args()
    if options.top < 1:
        parser.error("--top must be at least 1")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may not be valid Unicode
    with user_errors():
        run = resolve_run_dir(options.run)
        paths, count, note = find_images(options.images)

        from alexlab.evaluation.predict import print_predictions  # torch takes seconds

        shown = {"format": options.format, "top": options.top, "crops": options.crops}
        try:
            broken = print_predictions(run, paths, count, **shown)
            if note:
                print(f"note: {printable(note)}", file=sys.stderr)
        except BrokenPipeError:  # the reader closed the pipe, as head does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        sys.exit(1 if broken else 0)
