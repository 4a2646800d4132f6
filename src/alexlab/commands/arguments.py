"""Build the argument parsers of the verbs, and add the arguments that several verbs have."""

import argparse
import sys
from typing import Any

from alexlab.errors import suggest_setting
from alexlab.runs.locate import BEST_OF


def command_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser for `alexlab <command>` that keeps the line breaks of `description`."""
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
    add_config_dir_option(parser)


def add_config_dir_option(parser: argparse.ArgumentParser) -> None:
    """Add the option --config-dir DIR: the user's own config files, as for `alexlab train`."""

    class AddConfigDir(argparse.Action):
        def __call__(self, parser: Any, namespace: Any, value: Any, option: Any = None) -> None:
            from alexlab.runs.config import add_config_dir

            try:
                add_config_dir(value)
            except ValueError as error:
                parser.error(str(error))

    parser.add_argument(
        "--config-dir",
        "-cd",
        metavar="DIR",
        action=AddConfigDir,
        help="your own config files, as for alexlab train",
    )


def add_settings(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the argument SETTING=VALUE ... as `settings`, as for `alexlab train`."""
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="SETTING=VALUE",
        help=f"settings as for alexlab train, such as {example}",
    )
    add_config_dir_option(parser)


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
    """Add the option --crops: 1, 10 or 144 crops per image."""
    parser.add_argument(
        "--crops",
        nargs="+" if several else None,
        type=int,
        default=[1] if several else 1,
        choices=(1, 10, 144),
        help="crops per image (default 1)",
    )


def explain_setting(key: str) -> str:
    """Return the error for the unknown setting `key` of the command line.

    It names the options of the group that have this setting, and the chosen ones that lack it.
    """
    from alexlab.runs.config import flatten

    group, _, name = key.partition(".")
    having = [o for o in group_options(group) if name and name in _settings(f"{group}={o}")[group]]
    if having:
        typed = [word.partition("=")[2] for word in sys.argv if word.startswith(f"{group}=")]
        chosen = typed[-1].split(",") if typed else []
        lacking = ", ".join(one for one in chosen if one not in having)
        lacks = f"{group}={lacking} has" if lacking else f"the chosen {group} has"
        return f"{key}: {lacks} no such setting; it exists for {group}={' and '.join(having)}"
    settings = flatten(_settings())
    names = sorted({*settings, *(name.split(".")[0] for name in settings)})
    return f"{key}: no such setting{suggest_setting(key, names)}"


def group_options(group: str) -> list[str]:
    """List the options of a config group, in the order of their names."""
    from alexlab.runs.config import config_folders

    found = {path.stem for folder in config_folders() for path in folder.glob(f"{group}/*.yaml")}
    return sorted(found) if group.isidentifier() else []


def _settings(*overrides: str) -> dict[str, Any]:
    """Compose the default config with `overrides`; do not resolve interpolations."""
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from alexlab.runs.config import compose_config

    GlobalHydra.instance().clear()
    cfg = compose_config(overrides, check=False)
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=False)  # type: ignore[assignment]
    return config
