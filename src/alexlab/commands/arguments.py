"""Build the argument parsers of the verbs: one help format, RUN_DIR and settings in one place."""

import argparse
from typing import Any

from alexlab.runs.locate import BEST_OF


def command_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser for `alexlab <command>` that shows `description` with its own line breaks."""
    return argparse.ArgumentParser(
        prog=f"alexlab {command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_run_dir(parser: argparse.ArgumentParser) -> None:
    """Add the argument RUN_DIR as `run`; `alexlab.runs.locate.resolve_run_dir` finds the folder."""
    parser.add_argument(
        "run",
        metavar="RUN_DIR",
        help=f"folder of a finished run, or {BEST_OF}SWEEP_DIR for the best run of a sweep",
    )


def add_settings(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the argument SETTING=VALUE ... as `settings`: what `alexlab train` takes too."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="SETTING=VALUE",
        help=f"settings as for alexlab train, such as {example}",
    )


def add_data_settings(parser: argparse.ArgumentParser) -> None:
    """Add the option --data KEY=VALUE ... as `data`: other images for a finished run."""
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="data settings to change, such as root=FOLDER",
    )


def add_crops(parser: argparse.ArgumentParser, *, several: bool) -> None:
    """Add the option --crops: 1, 10 or 144 views per image."""
    parser.add_argument(
        "--crops",
        nargs="+" if several else None,
        type=int,
        default=[1] if several else 1,
        choices=(1, 10, 144),
        help="views per image (default 1)",
    )


def setting_names() -> list[str]:
    """List every group and setting of the default config, to suggest near matches in errors."""
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from alexlab.runs.config import compose_config, flatten

    GlobalHydra.instance().clear()
    config: Any = OmegaConf.to_container(compose_config(), resolve=False)
    settings = flatten(config)
    return sorted({*settings, *(key.split(".")[0] for key in settings)})
