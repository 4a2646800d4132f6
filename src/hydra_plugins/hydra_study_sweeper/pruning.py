"""A running trial's line to its study, and the pruners that listen at the other end."""

from typing import Any

import optuna

from hydra_plugins.hydra_study_sweeper._storage import open_storage


def make_pruner(spec: str) -> optuna.pruners.BasePruner:
    """`median`, `hyperband`, `percentile`, ... with Optuna's defaults, or `none`.

    Raises:
        ValueError: There is no such pruner.
    """
    known: dict[str, Any] = {
        "none": optuna.pruners.NopPruner,
        "median": optuna.pruners.MedianPruner,
        "percentile": lambda: optuna.pruners.PercentilePruner(25.0),
        "hyperband": optuna.pruners.HyperbandPruner,
        "halving": optuna.pruners.SuccessiveHalvingPruner,
        "wilcoxon": optuna.pruners.WilcoxonPruner,
    }
    if spec not in known:
        raise ValueError(f"prune={spec} is unknown; known: {', '.join(known)}")
    pruner: optuna.pruners.BasePruner = known[spec]()
    return pruner


class TrialReport:
    """A running trial's line to its study: it reports the objective, and hears whether to stop.

    Args:
        storage: As `open_storage` takes it.
        study: The study's name.
        number: The trial's number in it.
        prune: As `make_pruner` takes it.
    """

    def __init__(self, *, storage: str, study: str, number: int, prune: str) -> None:
        loaded = optuna.load_study(
            study_name=study,
            storage=open_storage(storage),
            sampler=optuna.samplers.RandomSampler(),  # samples nothing here, and starts at once
            pruner=make_pruner(prune),
        )
        storage_id = loaded._storage.get_trial_id_from_study_id_trial_number
        self.trial = optuna.Trial(loaded, storage_id(loaded._study_id, number))

    def report(self, objective: float, step: int) -> bool:
        """Report `objective` after epoch `step`; True when the trial should stop here."""
        self.trial.report(objective, step)
        return self.trial.should_prune()
