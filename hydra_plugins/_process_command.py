"""A job's command line: the single run that a user would have typed."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict


def job_folder(
    context: HydraContext, config: DictConfig, overrides: Sequence[str], number: int
) -> Path:
    """Where job `number` writes: as its overrides say, else as the config does."""
    given = [o for o in overrides if o.startswith(("hydra.sweep.dir=", "hydra.sweep.subdir="))]
    if len(given) == 2:
        parsed = OverridesParser.create().parse_overrides(given)
        values = {override.key_or_group: str(override.value()) for override in parsed}
        return Path(values["hydra.sweep.dir"]) / values["hydra.sweep.subdir"]
    cfg = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(cfg):
        cfg.hydra.job.id = cfg.hydra.job.num = number
    return Path(cfg.hydra.sweep.dir).absolute() / str(cfg.hydra.sweep.subdir)


def job_arguments(
    config: DictConfig, overrides: Sequence[str], folder: Path, number: int
) -> list[str]:
    """What the job is given: the sweep's own config and flags, and its `overrides`."""
    flags = [f"--config-name={config.hydra.job.config_name}"]
    for source in config.hydra.runtime.config_sources:
        if source.provider == "command-line":
            flags.append(f"--config-dir={source.path}")
    of_hydra = ("hydra.mode=", "hydra.run.dir=")
    kept = [o for o in config.hydra.overrides.hydra if not o.startswith(of_hydra)]
    path = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    single = ["hydra.mode=RUN", f"hydra.run.dir='{path}'", f"hydra.job.num={number}"]
    return [*flags, *kept, *overrides, *single]


def main_module() -> str:
    """How the running program was named: a module, or the path of a script."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return spec.name if spec is not None else os.path.abspath(str(main.__file__))
