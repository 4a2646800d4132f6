"""Test a finished run: `alexlab evaluate RUN_DIR --crops 10 144`.

Writes RUN_DIR/evaluation/: evaluation.md, evaluation.json, plots/*.png, and evaluation.html, a page
that needs no other file. RUN_DIR may be best:SWEEP_DIR, the best run of a sweep that kept its
weights. --data root=FOLDER tests other images, of the run's classes or of some of them.
"""

from alexlab.commands.arguments import (
    add_crops,
    add_data_settings,
    add_run_dir,
    command_parser,
)
from alexlab.errors import user_errors
from alexlab.runs.locate import resolve_run_dir


def main() -> None:
    """Run `alexlab evaluate`."""
    parser = command_parser("evaluate", __doc__)
    add_run_dir(parser)
    add_data_settings(parser)
    add_crops(parser, several=True)
    parser.add_argument(
        "--split",
        choices=("test", "val", "all"),
        help="default: test; for images of another folder, all",
    )
    options = parser.parse_args()
    with user_errors():
        run = resolve_run_dir(options.run)

        from alexlab.evaluation.evaluate import evaluate  # torch takes seconds

        evaluate(run, settings=options.data, crops=options.crops, split=options.split)
