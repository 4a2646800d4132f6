"""The draws are those of committed numbers, and differ with seed, epoch, batch and rank."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from alexlab.training.callbacks.step_seeding import StepSeeding

# drawn with torch.manual_seed, numpy.random.seed and random.seed on SeedSequence's first word;
# (seed, epoch, batch, rank): torch.rand(2) in float64, torch.randint(1 << 30), numpy, python
DRAWS = {
    (0, 2, 3, 0): (0.3832961161863938, 0.8086712574409263, 0.0788004339982, 0.6471502768520851),
    (1, 2, 3, 0): (0.7200684580902984, 0.6928925331252977, 0.0555273742007, 0.17754431735171294),
    (0, 1, 3, 0): (0.5225705750979087, 0.4413215920449671, 0.9299426669382, 0.05802311358413892),
    (0, 2, 4, 0): (0.012389142894492444, 0.1970070381533525, 0.3525451117417, 0.9173097624105083),
    (0, 2, 3, 1): (0.5392436211519556, 0.13434925741497528, 0.5168648648157, 0.9872451734848257),
}


def seed(seed, epoch, batch, rank):
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank, strategy=strategy)
    StepSeeding(seed).on_train_batch_end(trainer, None, None, None, batch - 1)


@pytest.mark.parametrize("place", DRAWS)
def test_draws_are_the_committed_ones(place):
    seed(*place)
    draws = (*torch.rand(2, dtype=torch.float64).tolist(), np.random.rand(), random.random())
    assert draws == pytest.approx(DRAWS[place], rel=1e-10)


@pytest.mark.parametrize("place", list(DRAWS)[1:])
def test_each_of_seed_epoch_batch_and_rank_changes_the_draws(place):
    seed(0, 2, 3, 0)
    expected = torch.rand(4)
    seed(0, 2, 3, 0)
    assert torch.equal(torch.rand(4), expected)
    seed(*place)
    assert not torch.equal(torch.rand(4), expected)


def test_an_epoch_starts_with_batch_0_and_a_resumed_one_with_its_next_batch():
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    progress = SimpleNamespace(current=SimpleNamespace(ready=3))
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    trainer = SimpleNamespace(current_epoch=2, global_rank=0, strategy=strategy, fit_loop=loop)
    StepSeeding(0).on_train_start(trainer, None)
    assert torch.rand(1, dtype=torch.float64).item() == pytest.approx(DRAWS[0, 2, 3, 0][0])
    StepSeeding(0).on_train_epoch_start(trainer, None)
    first = torch.rand(4)
    seed(0, 2, 0, 0)
    assert torch.equal(torch.rand(4), first)


def test_no_accelerator_that_is_not_used_is_asked(monkeypatch):
    """torch.manual_seed formats a stack trace for each of them at each step."""
    monkeypatch.setattr(torch, "manual_seed", lambda _: pytest.fail("torch.manual_seed"))
    seed(0, 2, 3, 0)
