"""The settings of the launcher in alexlab, which are wired to those of the trainer."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from alexlab.runs.config import CONF


@pytest.fixture
def config():
    """config("trainer.devices=2", ...): the config of a sweep's command."""

    def compose(*overrides):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            return loader.load_configuration("train", list(overrides), RunMode.MULTIRUN)

    return compose


@pytest.fixture
def settings(config):
    """settings("trainer.devices=2", ...): hydra.launcher of that config, resolved."""
    return lambda *args: OmegaConf.to_container(config(*args).hydra.launcher, resolve=True)


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


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.accelerator=gpu", r"trainer\.accelerator=gpu: no GPU .*use trainer.accel"),
        ("trainer.devices=[1,2]", r"trainer\.devices=\[1, 2\]: a job's GPUs"),
        ("sweep.jobs_per_gpu=0", r"sweep\.jobs_per_gpu=0: must"),
        ("hydra.launcher.jobs_per_gpu=0", r"hydra\.launcher\.jobs_per_gpu=0: must"),
    ],
)
def test_an_error_names_the_key_that_was_set(config, monkeypatch, override, said):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "" if override.endswith("=gpu") else "0,1")
    monkeypatch.setenv("PATH", "")
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=HydraContext(None, None), task_function=print, config=config(override)
    )
    with pytest.raises(ValueError, match=said):
        launcher.prepare(None)


def test_other_launchers_take_none_of_these_settings(settings):
    assert settings("hydra/launcher=basic").keys() == {"_target_"}
