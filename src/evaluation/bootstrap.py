"""How much a number would move with other images like these: the bootstrap over groups of twins."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 2000


class Resampled:
    """Statistics with percentile bootstrap intervals, from a fixed seed.

    They say how much a number would move with other images like these, not with another training.
    Exact and near duplicates are drawn together: they are no independent images.

    Args:
        twins: The group of each image [N].
    """

    def __init__(self, twins: NDArray[np.int64]) -> None:
        _, self.group = np.unique(twins, return_inverse=True)
        self.groups = int(self.group.max()) + 1

    def of(self, statistic: Callable[..., Any], *values: NDArray[Any]) -> dict[str, Any]:
        """A statistic of values [N], and its interval."""

        def again(drawn: NDArray[np.int64]) -> float:
            times = np.bincount(drawn, minlength=self.groups)[self.group]
            return float(statistic(*(np.repeat(v, times) for v in values)))

        low, high = stats.bootstrap(
            (np.arange(self.groups),),
            again,
            vectorized=False,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        return {"value": float(statistic(*values)), "interval": [float(low), float(high)]}

    def mean(self, values: NDArray[np.float64]) -> dict[str, Any]:
        """Their mean, and its interval."""
        return self.of(np.mean, values)
