"""Optuna's own plots of a search."""

import matplotlib
import optuna

from hydra_plugins.hydra_study_sweeper._samplers import write_plots


def test_optunas_plots_leave_the_style_of_the_process_as_it_was(tmp_path):
    """Optuna draws in the style ggplot; the pictures of the report came out grey."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=5)
    matplotlib.use("Agg")
    before = matplotlib.rcParams.copy()
    assert write_plots(study, tmp_path, several=False) is None
    assert matplotlib.rcParams == before
    assert (tmp_path / "optimization_history.png").is_file()
