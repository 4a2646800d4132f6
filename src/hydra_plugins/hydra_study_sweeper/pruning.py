"""Report intermediate values of a running trial to its pruner (public names)."""

from hydra_plugins.hydra_study_sweeper._reporter import TrialReporter

__all__ = ["TrialReporter"]
