"""Learning-rate schedules that torch does not have: constant pieces, and a warm-up before a cosine.

Article 002 counts epochs from 1: "epoch <= 18: 0.01, epoch > 18: 0.003" is
`piecewise(optimizer, after=[18], lr=[0.003])`.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, SequentialLR


def piecewise(optimizer: Optimizer, *, after: Sequence[int], lr: Sequence[float]) -> LambdaLR:
    """The optimiser's own rate up to epoch `after[0]`, then `lr[0]` up to `after[1]`, and so on.

    Args:
        optimizer: Its default lr is the rate of the first piece; groups keep their ratio to it.
        after: Last epoch of each piece, 1-based, rising.
        lr: The rate from the following epoch on, one for each of `after`.

    Raises:
        ValueError: The two lists differ in length, an epoch does not rise, or a rate is not > 0.
    """
    if len(after) != len(lr):
        raise ValueError(f"sched: {len(after)} epochs in 'after' but {len(lr)} rates in 'lr'")
    if any(a >= b for a, b in pairwise([0, *after])):
        raise ValueError(f"sched.after={list(after)}: epochs must rise, from 1")
    if any(rate <= 0 for rate in lr):
        raise ValueError(f"sched.lr={list(lr)}: rates must be greater than 0")
    rates = [float(optimizer.defaults["lr"]), *lr]

    def factor(epochs_done: int) -> float:  # epoch k (1-based) starts with k - 1 epochs done
        return rates[sum(epochs_done >= last for last in after)] / rates[0]

    return LambdaLR(optimizer, factor)


def drop(optimizer: Optimizer, *, epoch: int, after: float) -> LambdaLR:
    """One drop: the optimiser's rate up to and with `epoch` (1-based), then the rate `after`."""
    return piecewise(optimizer, after=[epoch], lr=[after])


def warmup_cosine(optimizer: Optimizer, *, warmup_epochs: int, max_epochs: int) -> SequentialLR:
    """Rises linearly over `warmup_epochs`, then falls to 0 along a cosine (arXiv 1608.03983).

    Raises:
        ValueError: The warm-up is not shorter than the training.
    """
    if not 0 < warmup_epochs < max_epochs:
        raise ValueError(
            f"sched.warmup_epochs={warmup_epochs}: must lie between 1 and {max_epochs - 1}"
            f" for trainer.max_epochs={max_epochs}"
        )
    rise = LinearLR(optimizer, start_factor=1 / (warmup_epochs + 1), total_iters=warmup_epochs)
    fall = CosineAnnealingLR(optimizer, T_max=max_epochs - warmup_epochs)
    return SequentialLR(optimizer, [rise, fall], milestones=[warmup_epochs])
