"""Define fixtures for tests of the launcher: jobs that run a task function of the test."""

import pytest
from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.types import HydraContext, RunMode

Plugins.instance()  # load plugins before the fixture saves Hydra's state (needed by Hydra 1.4)


@pytest.fixture
def make_launcher(tmp_path):
    """Return a function: make_launcher(task, "hydra.launcher.x=1", ...) sets up a launcher."""
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
    """Return a function: launch(task) runs one job in tmp_path/0, and returns its JobReturn."""

    def run(task, *overrides):
        (result,) = make_launcher(task, *overrides).launch([["+a=1", "bar=7"]], initial_job_idx=0)
        return result

    return run
