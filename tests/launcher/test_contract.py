"""Hydra's own suites for launchers, on jobs that are forked and spawned."""

import inspect
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.extra.pytest_plugin import hydra_restore_singletons, hydra_sweep_runner  # noqa: F401
from hydra.plugins.launcher import Launcher
from hydra.plugins.plugin import Plugin
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase

FORKED, SPAWNED = ([f"hydra.launcher.start_method={name}"] for name in ("forkserver", "spawn"))
PROCESS = ["-m", "hydra/job_logging=hydra_debug", "hydra/job_logging=disabled"]
PROCESS += ["hydra/launcher=process"]


@pytest.fixture(autouse=True)
def _version_base(hydra_restore_singletons):  # noqa: F811
    """Use Hydra's default, as the suites expect; another test may have set it otherwise."""
    Singleton._instances.pop(VersionBase, None)


def test_the_plugin_is_discovered():
    assert "ProcessLauncher" in [found.__name__ for found in Plugins.instance().discover(Launcher)]


def test_entry_points_name_plugin_classes():
    """Hydra 1.4 takes nothing else; 1.3 looks for modules."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    named = project["project"]["entry-points"]["hydra.plugins"]
    for name, value in named.items():
        found = EntryPoint(name, value, "hydra.plugins").load()
        assert inspect.isclass(found), name
        assert issubclass(found, Plugin), name
        assert not inspect.isabstract(found), name


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
