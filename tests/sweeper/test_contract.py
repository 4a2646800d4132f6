"""Hydra's own suites, with this sweeper."""

import pytest
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.extra.pytest_plugin import hydra_restore_singletons, hydra_sweep_runner  # noqa: F401
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase

STUDY = ["hydra/sweeper=study"]


@pytest.fixture(autouse=True)
def _version_base(hydra_restore_singletons):  # noqa: F811
    """Use Hydra's default, as the suites expect; another test may have set it otherwise."""
    Singleton._instances.pop(VersionBase, None)


def test_the_plugin_is_discovered():
    assert "StudySweeper" in [found.__name__ for found in Plugins.instance().discover(Sweeper)]


@pytest.mark.parametrize(("launcher_name", "overrides"), [("basic", STUDY)])
class TestStudySweeper(LauncherTestSuite):
    pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [({}, ["-m", "hydra/job_logging=hydra_debug", "hydra/job_logging=disabled", *STUDY])],
)
class TestStudySweeperIntegration(IntegrationTestSuite):
    @pytest.mark.skip(reason="it runs one sweep twice: the second command has nothing to do")
    def test_to_absolute_path_multirun(self, tmpdir, task_launcher_cfg, extra_flags):
        pass


def test_task_without_an_objective_finishes_a_grid(hydra_sweep_runner, tmpdir):  # noqa: F811
    """And its sweep, as Hydra's own sweeper leaves it: folders by number, multirun.yaml."""
    runner = hydra_sweep_runner(
        calling_file=None,
        calling_module="hydra.test_utils.a_module",
        task_function=lambda cfg: None,
        config_path="configs",
        config_name="compose.yaml",
        overrides=["+a=1,2", *STUDY],
        temp_dir=tmpdir,
    )
    with runner:
        (jobs,) = runner.returns
        assert [job.overrides for job in jobs] == [["+a=1"], ["+a=2"]]
        rows = (tmpdir / "trials.csv").read_text("utf-8").splitlines()
        assert [row.split(",")[:5] for row in rows[1:]] == [
            ["0", "finished", "1", "", ""],
            ["1", "finished", "2", "", ""],
        ]
