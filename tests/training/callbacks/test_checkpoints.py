"""When checkpoints are written."""

import types

import pytest
import torch

from alexlab.training.callbacks.checkpoints import Checkpoints


@pytest.mark.parametrize("due_elsewhere", [False, True])
def test_all_ranks_save_or_none_whatever_their_own_clocks_say(tmp_path, due_elsewhere):
    """One rank alone in a save would wait for the others for ever."""
    saved = []
    trainer = types.SimpleNamespace(
        **{"callback_metrics": {"val/acc": torch.tensor(0.5)}, "current_epoch": 0},
        **{"callbacks": [], "world_size": 2, "is_global_zero": False},
        strategy=types.SimpleNamespace(reduce_boolean_decision=lambda due, all: due_elsewhere),
        save_checkpoint=saved.append,
    )
    learner = types.SimpleNamespace(net=torch.nn.Linear(1, 1))
    settings = {"objective": "val/acc", "maximize": True, "keep_last": True, "metadata": {}}
    clock = Checkpoints(tmp_path, **settings, every_s=1e9 if due_elsewhere else 0)
    clock.on_train_epoch_end(trainer, learner)
    assert len(saved) == due_elsewhere
