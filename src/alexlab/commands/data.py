"""Fetch, check or preview a data set."""

import argparse
import json
import os
from pathlib import Path

from alexlab.commands.arguments import add_settings, command_parser, explain_setting
from alexlab.errors import check_file, check_folder, printable, user_errors
from alexlab.reporting.console import path_link

NAMES = ("cifar10", "flower", "pokemon")  # the keys of alexlab.data.download.SOURCES
COMMANDS = {
    "fetch": "download a public data set, or import your own",
    "check": "list duplicates, broken files and leaks between splits",
    "preview": "draw images as the network sees them",
}
DESCRIPTIONS = {
    "fetch": """Download a data set, or import it.

    alexlab data fetch flower
    alexlab data fetch pokemon FILE_OR_FOLDER

flower and cifar10 are downloaded from their own addresses and checked; after a broken connection or
Ctrl-C the same command continues the download. The pokemon images have no permanent public address:
give your own folder or archive.
""",
    "check": """List duplicates, broken files and leaks between splits.

    alexlab data check data=pokemon

Prints a report in Markdown and writes it, and its numbers as JSON, to multirun/check/.
""",
    "preview": """Draw images as the network sees them.

    alexlab data preview data=flower augment=alexnet

Writes a picture with one row per training image: without augmentation, then with four random
augmentations, then, if the representation is not RGB, the channels of the first of these four
(black is -2.5, white 2.5).
""",
}


def main() -> None:
    """Run `alexlab data`."""
    parser = command_parser("data", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(COMMANDS))
    fetch, check, preview = (
        commands.add_parser(
            name,
            help=text,
            description=DESCRIPTIONS[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, text in COMMANDS.items()
    )
    fetch.add_argument("name", choices=NAMES)
    fetch.add_argument("source", nargs="?", type=Path, help="your own archive or folder")
    data_dir = Path(os.environ.get("DATA_DIR", "data"))
    fetch.add_argument("--data-dir", type=Path, default=data_dir, help="default: %(default)s")
    add_settings(check, "data=flower data.fit=squash")
    check.add_argument("--out", type=Path, default=Path("multirun/check"), help="folder")
    add_settings(preview, "data=flower augment=alexnet")
    preview.add_argument("--out", type=Path, default=Path("multirun/preview.png"), help="PNG file")
    options = parser.parse_args()
    run = {"fetch": _fetch, "check": _check, "preview": _preview}[options.command]
    with user_errors(explain_setting):
        run(options)


def _fetch(options: argparse.Namespace) -> None:
    from alexlab.data.download import fetch  # torchvision takes seconds

    print(path_link(fetch(options.name, options.source, options.data_dir)))


def _check(options: argparse.Namespace) -> None:
    check_folder(f"--out {options.out}", options.out)
    from alexlab.runs.config import compose_config

    cfg = compose_config(options.settings)

    from alexlab import factory  # torch takes seconds
    from alexlab.data.check import check_report, examine
    from alexlab.runs.folder import write_atomically

    found = examine(factory.unprepared_data(cfg))
    text, report = check_report(found), options.out / f"{found['name']}.md"
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomically(report.with_suffix(".json"), json.dumps(found, indent=1))
    write_atomically(report, text)
    print(text, path_link(report), sep="\n")


def _preview(options: argparse.Namespace) -> None:
    check_file(f"--out {options.out}", options.out, "preview.png")
    from alexlab.runs.config import compose_config

    cfg = compose_config(options.settings)

    from PIL import Image

    from alexlab import factory  # torch takes seconds
    from alexlab.data.preview import DRAWS, preview

    data = factory.data_module(cfg)
    print(*map(printable, data.notes), sep="\n")
    picture, names = preview(data, seed=cfg.seed, channels=cfg.data.representation != "rgb")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(options.out, format="PNG")
    print(f"rows: {printable(', '.join(names))}")
    print(f"columns: without augmentation, {DRAWS} augmentations, channels if not RGB")
    print(path_link(options.out))
