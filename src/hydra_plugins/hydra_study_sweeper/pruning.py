"""What a trial needs to report to its pruner."""

from hydra_plugins.hydra_study_sweeper._reporter import TrialReporter

__all__ = ["TrialReporter"]
