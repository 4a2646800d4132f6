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
    seen = rates(lambda o: drop(o, epoch=18, after=0.003), 20)
    assert seen == pytest.approx([0.01] * 18 + [0.003] * 2)  # epochs 1..18, then 19 and 20


def test_piecewise_holds_each_rate_up_to_and_with_its_epoch():
    seen = rates(lambda o: piecewise(o, after=[2, 3], lr=[0.5, 0.1]), 5, lr=1.0)
    assert seen == pytest.approx([1.0, 1.0, 0.5, 0.1, 0.1])


def test_groups_keep_their_ratio():
    a, b = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = SGD([{"params": [a], "lr": 0.001}, {"params": [b]}], lr=0.01)
    schedule = drop(optimizer, epoch=1, after=0.002)
    optimizer.step()
    schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.0002, 0.002])


def test_warmup_rises_to_the_rate_and_the_cosine_falls_from_it():
    seen = rates(lambda o: warmup_cosine(o, warmup_epochs=2, max_epochs=6), 6, lr=0.3)
    # thirds up to the rate, then 0.3 (1 + cos(pi k / 4)) / 2 for k = 0..3
    assert seen == pytest.approx([0.1, 0.2, 0.3, 0.25606602, 0.15, 0.04393398])


@pytest.mark.parametrize(
    ("after", "lr", "message"),
    [([18], [], "1 epochs"), ([5, 5], [1, 2], "rise"), ([0], [1], "rise"), ([3], [0], "greater")],
)
def test_a_schedule_that_cannot_be_is_refused(after, lr, message):
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match=message):
        piecewise(optimizer, after=after, lr=lr)


def test_a_warmup_longer_than_the_training_is_refused():
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match="between 1 and 4"):
        warmup_cosine(optimizer, warmup_epochs=5, max_epochs=5)
