"""Log to Trackio; Lightning has no logger for it."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only


class TrackioLogger(Logger):
    """Send metrics and settings to a Trackio project, which is stored on this machine.

    Args:
        project: Name of the project.
        run_name: Name of the run.
        **settings: Other arguments of `trackio.init`, such as `space_id`.

    Raises:
        ModuleNotFoundError: If trackio is not installed.
    """

    def __init__(self, project: str, *, run_name: str, **settings: Any) -> None:
        super().__init__()
        import trackio

        self.project, self.run_name, self.settings = project, run_name, settings
        self._trackio, self._started = trackio, False

    @property
    def name(self) -> str:
        """Return the name of the project."""
        return self.project

    @property
    def version(self) -> str:
        """Return the name of the run."""
        return self.run_name

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Start the run with its settings."""
        self._trackio.init(
            project=self.project, name=self.run_name, config=dict(params), **self.settings
        )
        self._started = True

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the metrics of an epoch."""
        self._trackio.log(dict(metrics), step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run."""
        if self._started:
            self._trackio.finish()
            self._started = False
