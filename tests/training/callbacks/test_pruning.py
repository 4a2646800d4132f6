"""What a training reports to its sweep, and when it ends as pruned."""

from types import SimpleNamespace

import pytest
import torch

from alexlab.runs.folder import Pruned
from alexlab.training.callbacks.pruning import Pruning


def test_steps_count_from_zero_as_in_optunas_own_callback_for_lightning():
    """(optuna_integration reports `pl_module.current_epoch`, which begins at 0.)"""
    reported = []
    reporter = SimpleNamespace(
        report=lambda value, step: reported.append((value, step)),
        should_prune=lambda: len(reported) == 2,
    )
    callback = Pruning("val/acc", reporter)
    for epoch, acc in ((0, 0.25), (1, 0.5)):
        trainer = SimpleNamespace(
            callback_metrics={"val/acc": torch.tensor(acc), "val/loss": torch.tensor(9.0)},
            strategy=SimpleNamespace(broadcast=lambda stop: stop),
            **{"current_epoch": epoch, "is_global_zero": True},
        )
        if epoch == 0:
            callback.on_train_epoch_end(trainer, None)
        else:
            with pytest.raises(Pruned):
                callback.on_train_epoch_end(trainer, None)
    assert reported == [(0.25, 0), (0.5, 1)]
