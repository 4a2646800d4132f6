"""Open TensorBoard on all runs, or on those of one sweep: `alexlab board [multirun/NAME]`."""

import argparse
import subprocess
import sys


def main() -> None:
    """Run the command line; options that are not known here go to TensorBoard."""
    parser = argparse.ArgumentParser(prog="alexlab board", description=__doc__)
    parser.add_argument("folder", nargs="?", default="multirun", help="default: multirun")
    options, rest = parser.parse_known_args()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", options.folder]
    sys.exit(subprocess.call([*command, "--window_title", "alexlab", *rest]))
