"""Repeat a finished run and compare the results: `alexlab rerun RUN_DIR`.

First the differences in commit, versions, machine and data are printed. Then the run is trained in
a new folder, and its weights, metrics and history are compared. The exit code is 0 only if they are
bit-identical. The images of a run from another machine are looked up in DATA_DIR.
"""

import sys
from datetime import datetime
from pathlib import Path

from alexlab.commands.arguments import add_config_dir_option, command_parser
from alexlab.errors import user_errors
from alexlab.training.rerun import rerun
from hydra_plugins.hydra_process_launcher.program import restore_verbs


def main() -> None:
    """Run `alexlab rerun`."""
    parser = command_parser("rerun", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="folder of a finished run")
    parser.add_argument("--into", type=Path, help="the new folder; in multirun/single by default")
    add_config_dir_option(parser)
    options = parser.parse_args()
    into = options.into or Path("multirun/single", f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}-rerun")
    restore_verbs()  # Lightning starts the other ranks of DDP with sys.argv
    with user_errors():
        sys.exit(0 if rerun(options.run, into) else 1)
