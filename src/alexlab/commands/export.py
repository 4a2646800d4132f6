"""Write a finished run for other programs: `alexlab export RUN_DIR --format onnx|torch_export`.

The exported network takes `images`, float32 [N, 3, S, S], RGB in [0, 1], where S is the run's
data.resolution. It standardises them itself, and returns `probabilities` [N, classes] or `scores`
[N, 1]. The metadata has the classes, the task, S, and how training made images square. Before the
file is kept, ONNX Runtime or torch reads it, and its outputs for test images are compared with
those of the run.
"""

from pathlib import Path

from alexlab.commands.arguments import add_data_settings, add_run_dir, command_parser
from alexlab.errors import check_file, user_errors
from alexlab.reporting.console import path_link
from alexlab.runs.locate import resolve_run_dir

FORMATS = ("onnx", "torch_export")  # the keys of alexlab.evaluation.export.FORMATS


def main() -> None:
    """Run `alexlab export`."""
    parser = command_parser("export", __doc__)
    add_run_dir(parser)
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="default: model.onnx or model.pt2 in RUN_DIR"
    )
    add_data_settings(parser)
    options = parser.parse_args()
    with user_errors():
        if options.output is not None:
            check_file(f"--output {options.output}", options.output, "model.onnx")
        run = resolve_run_dir(options.run)

        from alexlab.evaluation import export  # torch takes seconds

        path, difference, which = export.export(
            run, options.format, output=options.output, settings=options.data
        )
        print(f"{path_link(path)} ({path.stat().st_size / 1e6:.1f} MB)")
        print(f"largest difference on {which}: {difference:.2g}")
