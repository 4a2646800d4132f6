"""Fetch, check or preview a data set: `alexlab data fetch|check|preview`."""

import sys
from importlib import import_module

MODULES = {
    "fetch": "alexlab.data.download",
    "check": "alexlab.data.check",
    "preview": "alexlab.commands.preview",
}
USAGE = """usage: alexlab data fetch|check|preview ...

  fetch    download a public data set, or import a folder or an archive
  check    list duplicates, broken files and leaks between splits
  preview  draw the images as the network sees them
"""


def main() -> None:
    """Run the command line."""
    program, *words = sys.argv
    if not words or words[0] not in MODULES:
        asked = not words or words[0] in ("-h", "--help")
        print(USAGE, file=sys.stdout if asked else sys.stderr, end="")
        raise SystemExit(0 if asked else 2)
    sys.argv = [program, *words[1:]]
    import_module(MODULES[words[0]]).main()
