"""Trains one network: `python -m src.train model=alexnet act=tanh`; with -m, several.

torch is imported only when a training starts: `--help`, a typing error and a finished sweep answer
at once.
"""

import os
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from src import run_config
from src.errors import TRACES, in_short
from src.run_folder import RunFolder, Stopped

RANK_0_FOLDER = "CONVLAB_RUN_FOLDER"  # Lightning starts the other ranks of DDP as new processes

OmegaConf.register_new_resolver("run_dir", lambda resume, new: resume or new, replace=True)


class Failed(BaseException):
    """Carries an error of a single run past Hydra, which would print the overrides above it."""

    def __init__(self, error: Exception) -> None:
        self.error = error


@hydra.main(config_path=str(run_config.CONF), config_name="train", version_base="1.3")
def task(cfg: DictConfig) -> float | None:
    """One training in Hydra's run folder; returns the objective."""
    own = HydraConfig.get()
    is_trial = not OmegaConf.is_missing(own.job, "num")
    is_rank_0 = int(os.environ.get("LOCAL_RANK", 0)) == 0
    folder = Path(own.runtime.output_dir if is_rank_0 else os.environ[RANK_0_FOLDER])
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    os.environ[RANK_0_FOLDER] = str(folder.absolute())
    try:
        if cfg.resume:
            cfg = run_config.to_resume(folder, own.overrides.task)
        return in_folder(cfg, folder, trial=is_trial, write=is_rank_0)
    except Exception as error:
        if is_trial:
            raise  # for the launcher
        if folder.is_dir() and not any(folder.iterdir()):  # Hydra has made it
            folder.rmdir()
        raise Failed(error) from error


def in_folder(cfg: DictConfig, folder: Path, *, trial: bool, write: bool) -> float | None:
    """Train in `folder`, which is locked meanwhile and says afterwards how it ended.

    The ranks of DDP that do not `write` only compute.
    """
    from src.out_of_memory import explained
    from src.training import Training

    if not write:
        return Training(cfg, folder, {}, trial=trial).run()
    size, side = cfg.data.batch_size, cfg.data.resolution
    with RunFolder(folder, keep=trial) as run, explained(size, side):
        training = Training(cfg, run.path, run.record, trial=trial)
        run.started = True
        return training.run()
    return run.record.get("objective")  # pruned


def main() -> None:
    """The command line: errors in one or two lines, exit code 1, or 128 + signal when stopped."""
    wanted = os.environ.setdefault(TRACES, os.environ.get("HYDRA_FULL_ERROR", "0"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, and we say it
    try:
        task()
    except Stopped as stop:
        folder = os.path.relpath(os.environ[RANK_0_FOLDER])
        print(f"stopped; to go on: python -m src.train resume={folder}")
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except (Exception, Failed) as failure:
        error = failure.error if isinstance(failure, Failed) else failure
        if wanted == "1":
            raise error from None
        print(f"error: {in_short(error, _keys())}", file=sys.stderr)
        sys.exit(1)


def _keys() -> list[str]:
    """Every group and setting of the default config, for near matches."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(run_config.CONF), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("train"), resolve=False)
    settings = run_config.flat(config)
    return sorted({*settings, *(key.split(".")[0] for key in settings)})


if __name__ == "__main__":
    main()
