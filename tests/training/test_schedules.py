"""Each rate is worked out by hand, for the epochs around a boundary."""

import pytest
import torch
from torch.optim import SGD

from alexlab.training.schedules import drop, piecewise, warmup_cosine


def rates(make, epochs, lr=0.01):
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = make(optimizer)
    seen = []
    for _ in range(epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_article_002_drops_after_epoch_18():
    seen = rates(lambda o: drop(o, drop_epoch=18, drop_lr=0.003), 20)
    assert seen == pytest.approx([0.01] * 18 + [0.003] * 2)  # epochs 1..18, then 19 and 20


def test_piecewise_holds_each_rate_up_to_and_with_its_epoch():
    seen = rates(lambda o: piecewise(o, milestones=[2, 3], lrs=[0.5, 0.1]), 5, lr=1.0)
    assert seen == pytest.approx([1.0, 1.0, 0.5, 0.1, 0.1])


def test_groups_keep_their_ratio():
    a, b = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = SGD([{"params": [a], "lr": 0.001}, {"params": [b]}], lr=0.01)
    schedule = drop(optimizer, drop_epoch=1, drop_lr=0.002)
    optimizer.step()
    schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.0002, 0.002])


def test_warmup_rises_to_the_rate_and_the_cosine_falls_from_it():
    seen = rates(lambda o: warmup_cosine(o, warmup_epochs=2, max_epochs=6), 6, lr=0.3)
    # thirds up to the rate, then 0.3 (1 + cos(pi k / 4)) / 2 for k = 0..3
    assert seen == pytest.approx([0.1, 0.2, 0.3, 0.25606602, 0.15, 0.04393398])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: piecewise(o, milestones=[18], lrs=[]), r"1 epochs but sched\.lrs has 0 rates"),
        (lambda o: piecewise(o, milestones=[5, 5], lrs=[1, 2]), r"\[5, 5\]: epochs must increase"),
        (lambda o: piecewise(o, milestones=[0], lrs=[1]), r"\[0\]: epochs must increase, from 1"),
        (lambda o: piecewise(o, milestones=[3], lrs=[0]), r"sched\.lrs=\[0\]: .*greater than 0"),
        (lambda o: drop(o, drop_epoch=0, drop_lr=1), r"sched\.drop_epoch=0: must be at least 1"),
        (lambda o: drop(o, drop_epoch=3, drop_lr=0), r"sched\.drop_lr=0: must be greater than 0"),
    ],
)
def test_an_impossible_schedule_is_refused_by_its_setting(make, message):
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match=message):
        make(optimizer)


def test_a_warmup_longer_than_the_training_is_refused():
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match=r"max_epochs=5; lower it, or train for at least 6 epochs"):
        warmup_cosine(optimizer, warmup_epochs=5, max_epochs=5)
