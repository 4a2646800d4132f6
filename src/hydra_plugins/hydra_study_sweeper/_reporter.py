"""Report intermediate values of a running trial to its sweep, and ask whether to stop it early.

Optuna is imported when a trial first reports. The class is here, and an app imports it from
`pruning`: Hydra 1.3 executes a public file once more when it looks for plugins. A class defined
there would exist twice, and a launcher could not pickle the older one.
"""

from functools import cached_property
from typing import Any, Self

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf


class TrialReporter:
    """Reports the objective of one trial to the Optuna study of its sweep.

    Args:
        storage: As `_storage.open_storage` takes it.
        study: The Optuna study's name.
        number: The trial's number in it.
        pruner: As `_samplers.make_pruner` takes it.
    """

    def __init__(self, *, storage: str, study: str, number: int, pruner: str) -> None:
        self.storage, self.study, self.number, self.pruner = storage, study, number, pruner

    @classmethod
    def from_hydra(cls) -> Self | None:
        """Make the reporter of the trial that Hydra runs; None if its sweep prunes nothing."""
        if not HydraConfig.initialized():
            return None
        hydra_node: Any = HydraConfig.get()
        trial = OmegaConf.select(hydra_node, "sweeper.trial")  # other sweepers have no such key
        return None if trial is None else cls(**trial)

    @cached_property
    def _trial(self) -> Any:
        """The trial in its storage, which is opened with the first report."""
        import optuna

        from hydra_plugins.hydra_study_sweeper._samplers import make_pruner
        from hydra_plugins.hydra_study_sweeper._storage import open_storage

        storage = open_storage(self.storage)
        study = optuna.load_study(
            study_name=self.study,
            storage=storage,
            sampler=optuna.samplers.RandomSampler(),  # samples nothing here, and starts at once
            pruner=make_pruner(self.pruner),
        )
        study_id = storage.get_study_id_from_name(self.study)
        return optuna.Trial(
            study, storage.get_trial_id_from_study_id_trial_number(study_id, self.number)
        )

    def report(self, objective: float, step: int) -> None:
        """Report `objective` after epoch `step`, counted from 0."""
        self._trial.report(objective, step)

    def should_prune(self) -> bool:
        """Return whether the pruner would stop the trial, given its reports so far."""
        return bool(self._trial.should_prune())
