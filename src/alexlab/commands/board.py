"""Open TensorBoard on all runs, or on those of one sweep: `alexlab board multirun/NAME`.

An index of all sweeps, with their states, answers and reports, is served too; it is up to date each
time that it is loaded. Both are reachable from this machine only. Give the folder first. Options
that are not listed here are passed to TensorBoard, such as --port 6007.
"""

import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from alexlab.commands.arguments import command_parser
from alexlab.errors import user_errors
from hydra_plugins.hydra_study_sweeper.sweep_folder import TRIALS

PORT = 6060  # of the index; TensorBoard's own is 6006


class IndexHandler(SimpleHTTPRequestHandler):
    """Serve the files of a folder of sweeps, and an index that is up to date."""

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path not in ("/", "/index.html"):
            super().do_GET()
            return
        from alexlab.studies.index import index_page

        page = index_page(Path(self.directory)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing, because the terminal shows TensorBoard's messages."""


def serve_index(folder: Path, port: int) -> ThreadingHTTPServer:
    """Serve the index of the sweeps in `folder` from a thread; port 0 takes a free port.

    Raises:
        OSError: The port is in use.
    """
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(IndexHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> None:
    """Run `alexlab board`."""
    parser = command_parser("board", __doc__)
    parser.usage = "alexlab board [FOLDER] [--index-port PORT] [OPTIONS OF TENSORBOARD]"
    parser.add_argument("--index-port", type=int, default=PORT, help="default: %(default)s")
    words = sys.argv[1:]
    has_folder = bool(words) and not words[0].startswith("-")  # else it may be an option's value
    folder = Path(words.pop(0) if has_folder else "multirun")
    options, rest = parser.parse_known_args(words)
    with user_errors():
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; give one with runs or sweeps")
    if not (folder / TRIALS).exists():
        try:
            server = serve_index(folder, options.index_port)
            print(f"index of all sweeps: http://127.0.0.1:{server.server_port}/", flush=True)
        except OSError as error:
            print(f"no index: --index-port {options.index_port}: {error.strerror}", flush=True)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
    sys.exit(subprocess.call([*command, "--window_title", "alexlab", *rest]))
