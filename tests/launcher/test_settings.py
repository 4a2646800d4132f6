"""The settings of the launcher in alexlab, which are wired to those of the trainer."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from alexlab.runs.config import CONF


@pytest.fixture
def settings():
    """settings("trainer.devices=2", ...): hydra.launcher, resolved, as a sweep's command has it."""

    def compose(*overrides):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            config = loader.load_configuration("train", list(overrides), RunMode.MULTIRUN)
            return OmegaConf.to_container(config.hydra.launcher, resolve=True)

    return compose


@pytest.mark.parametrize("chosen", [[], ["hydra/launcher=process"]])
def test_devices_are_those_of_the_trainer(settings, chosen):
    default = settings(*chosen)
    assert default["_target_"].endswith("ProcessLauncher")
    assert "alexlab.training.run" in default["preload"]
    assert (default["accelerator"], default["gpus_per_job"], default["jobs_per_gpu"]) == (
        "auto",
        1,
        1,
    )
    given = ["trainer.accelerator=gpu", "trainer.devices=[0,1]", "sweep.jobs_per_gpu=3"]
    wired = settings(*chosen, *given)
    assert (wired["accelerator"], wired["gpus_per_job"], wired["jobs_per_gpu"]) == (
        "gpu",
        [0, 1],
        3,
    )


def test_other_launchers_take_none_of_these_settings(settings):
    assert settings("hydra/launcher=basic").keys() == {"_target_"}
