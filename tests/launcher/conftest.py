"""What the tests of the launcher share: jobs with a task function of the test's own."""

import pytest
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.types import HydraContext, RunMode

Plugins.instance()  # a fixture that restores Hydra's state must not take them away (Hydra 1.4)


@pytest.fixture
def make_launcher(tmp_path):
    """make_launcher(task, "hydra.launcher.x=1", ...): a launcher that has been set up."""
    state = Singleton.get_state()
    version.setbase("1.3")

    def make(task, *overrides):
        GlobalHydra.instance().clear()
        module = "hydra.test_utils.a_module"
        hydra = Hydra.create_main_hydra_file_or_module(None, module, "configs", "a_module")
        config = hydra.compose_config(
            config_name="compose",
            overrides=["hydra/launcher=process", f"hydra.sweep.dir={tmp_path}", *overrides],
            run_mode=RunMode.MULTIRUN,
            with_log_configuration=False,
        )
        return Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(hydra.config_loader, Callbacks(config)),
            task_function=task,
            config=config,
        )

    yield make
    Singleton.set_state(state)


@pytest.fixture
def launch(make_launcher):
    """launch(task): the JobReturn of one job, in the folder tmp_path/0."""

    def run(task, *overrides):
        (result,) = make_launcher(task, *overrides).launch([["+a=1", "bar=7"]], initial_job_idx=0)
        return result

    return run
