"""Open TensorBoard on all runs, or on those of one sweep: `alexlab board multirun/NAME`.

Options that are not listed here are given to TensorBoard, such as --port 6007.
"""

import subprocess
import sys

from alexlab.commands.arguments import command_parser


def main() -> None:
    """Run `alexlab board`."""
    parser = command_parser("board", __doc__)
    parser.add_argument("folder", nargs="?", default="multirun", help="default: multirun")
    options, rest = parser.parse_known_args()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", options.folder]
    sys.exit(subprocess.call([*command, "--window_title", "alexlab", *rest]))


if __name__ == "__main__":
    main()
