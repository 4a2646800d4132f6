"""Build schedules that torch does not have: piecewise constant, and warm-up with a cosine.

The Pokémon article counts epochs from 1: "epoch <= 18: 0.01, epoch > 18: 0.003" is
`drop(optimizer, drop_epoch=18, drop_lr=0.003)`.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, SequentialLR


def piecewise(optimizer: Optimizer, *, milestones: Sequence[int], lrs: Sequence[float]) -> LambdaLR:
    """Use the optimiser's rate until the end of epoch `milestones[0]`, then `lrs[0]`, and so on.

    Args:
        optimizer: Its default lr is the first rate; parameter groups keep their ratio to it.
        milestones: Last epoch of each rate except the last one; 1-based, increasing.
        lrs: The rate after each milestone.

    Raises:
        ValueError: If the lengths differ, the epochs do not increase, or a rate is not above 0.
    """
    if len(milestones) != len(lrs):
        raise ValueError(
            f"sched.milestones has {len(milestones)} epochs but sched.lrs has {len(lrs)} rates;"
            " give one rate per milestone"
        )
    if any(a >= b for a, b in pairwise([0, *milestones])):
        raise ValueError(f"sched.milestones={list(milestones)}: epochs must increase, from 1")
    if any(rate <= 0 for rate in lrs):
        raise ValueError(f"sched.lrs={list(lrs)}: rates must be greater than 0")
    rates = [float(optimizer.defaults["lr"]), *lrs]

    def factor(epochs_done: int) -> float:  # k - 1 at the start of epoch k (1-based)
        return rates[sum(epochs_done >= epoch for epoch in milestones)] / rates[0]

    return LambdaLR(optimizer, factor)


def drop(optimizer: Optimizer, *, drop_epoch: int, drop_lr: float) -> LambdaLR:
    """Use the optimiser's rate until the end of `drop_epoch` (1-based), then `drop_lr`.

    Raises:
        ValueError: If the epoch is below 1, or the rate is not above 0.
    """
    if drop_epoch < 1:
        raise ValueError(f"sched.drop_epoch={drop_epoch}: must be at least 1")
    if drop_lr <= 0:
        raise ValueError(f"sched.drop_lr={drop_lr}: must be greater than 0")
    return piecewise(optimizer, milestones=[drop_epoch], lrs=[drop_lr])


def warmup_cosine(optimizer: Optimizer, *, warmup_epochs: int, max_epochs: int) -> SequentialLR:
    """Raise the rate linearly over `warmup_epochs`, then lower it to 0 along a cosine.

    Source of the cosine, here without restarts: Loshchilov and Hutter, arXiv 1608.03983.

    Raises:
        ValueError: If the warm-up is not shorter than the training.
    """
    if not 0 < warmup_epochs < max_epochs:
        raise ValueError(
            f"sched.warmup_epochs={warmup_epochs}: must be from 1 to less than"
            f" trainer.max_epochs={max_epochs}; lower it, or train for at least"
            f" {max(warmup_epochs, 1) + 1} epochs"
        )
    rise = LinearLR(optimizer, start_factor=1 / (warmup_epochs + 1), total_iters=warmup_epochs)
    fall = CosineAnnealingLR(optimizer, T_max=max_epochs - warmup_epochs)
    return SequentialLR(optimizer, [rise, fall], milestones=[warmup_epochs])
