"""Hydra's own suites for launchers, on jobs that are forked and spawned."""

import pytest
from hydra import version
from hydra.core.plugins import Plugins
from hydra.extra.pytest_plugin import hydra_restore_singletons, hydra_sweep_runner  # noqa: F401
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite

FORKED, SPAWNED = ([f"hydra.launcher.start_method={name}"] for name in ("forkserver", "spawn"))
PROCESS = ["-m", "hydra/job_logging=hydra_debug", "hydra/job_logging=disabled"]
PROCESS += ["hydra/launcher=process"]


@pytest.fixture(autouse=True)
def _version_base(hydra_restore_singletons):  # noqa: F811
    """Jobs change to their folder, as the suites expect; another test may have set it otherwise."""
    version.VersionBase.instance().setbase(version.__compat_version__)


def test_the_plugin_is_discovered():
    assert "ProcessLauncher" in [found.__name__ for found in Plugins.instance().discover(Launcher)]


@pytest.mark.parametrize(
    ("launcher_name", "overrides"),
    [
        pytest.param("process", FORKED, id="forkserver"),
        pytest.param("process", SPAWNED, id="spawn", marks=pytest.mark.slow),
    ],
)
class TestProcessLauncher(LauncherTestSuite):
    pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [
        pytest.param({}, [*PROCESS, *FORKED], id="forkserver"),
        pytest.param({}, [*PROCESS, *SPAWNED], id="spawn"),
    ],
)
class TestProcessLauncherIntegration(IntegrationTestSuite):
    pass
