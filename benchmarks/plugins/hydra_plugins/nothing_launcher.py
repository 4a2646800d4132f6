"""Launch jobs that train nothing: each writes the files of a short run, and ends at once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

METRICS = {f"{split}/{name}": 0.5 for split in ("train", "val", "test") for name in ("acc", "loss")}
RECORD = {"status": "finished", "objective": 0.5, "metrics": METRICS, "versions": {"torch": "2"}}
RECORD |= {"images": {"train": 70, "val": 10, "test": 20}, "wall_s": 0.0, "epochs": 10}
HISTORY = "".join(
    f"{row}\n"
    for row in ("epoch,lr,train/acc,val/acc,seconds", *(f"{n},0.1,0.5,0.5,1" for n in range(1, 11)))
)


@dataclass
class NothingConf:
    """Hold the config of `hydra/launcher=nothing`."""

    _target_: str = "hydra_plugins.nothing_launcher.NothingLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="nothing", node=NothingConf)


class NothingLauncher(Launcher):
    """Write the files of a short run instead of training."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Do nothing: the jobs need no settings."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Write the files of the only job into the folder that its overrides name."""
        where = [o.partition("=")[2].strip("'") for o in job_overrides[0] if "hydra.sweep." in o]
        folder = Path(*where)
        folder.mkdir(parents=True)
        (folder / "history.csv").write_text(HISTORY)
        (folder / "metrics.json").write_text(json.dumps(RECORD))
        return [JobReturn(status=JobStatus.COMPLETED)]
