"""Find a learning rate by a range test.

The rate rises with each step, and the loss is recorded (Smith 2017, "Cyclical Learning Rates for
Training Neural Networks", section 3.3); at good rates the loss falls fastest. The test runs
Lightning's finder and discards the weights. The loss of each step is computed back from Lightning's
average, since that starts at 0 instead of at the first loss (Lightning issue 14167) and lags by 50
steps. Lightning's suggestion is not used, since it takes slopes over the rate instead of over its
logarithm and so prefers the smallest rates (issue 21141).
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.tuner.tuning import Tuner
from matplotlib.figure import Figure
from numpy.typing import NDArray
from omegaconf import DictConfig
from scipy.ndimage import gaussian_filter1d

from alexlab import factory
from alexlab.library_warnings import filter_warnings
from alexlab.performance.malloc import set_malloc_thresholds
from alexlab.training import build

BETA = 0.98  # decay of Lightning's average
WIDTH = 0.04  # standard deviation of the Gaussian smoothing, as a share of the steps
FALLS = 0.95  # a loss has fallen if it is below this share of the first loss


@dataclass(frozen=True)
class Curve:
    """Hold the loss at each rate, up to the rate at which the training diverged."""

    lrs: NDArray[np.float64]
    losses: NDArray[np.float64]

    @property
    def smooth(self) -> NDArray[np.float64]:
        """Return the smoothed losses; a diverged loss counts as twice the first."""
        start = float(np.median(self.losses[:5]))
        losses = np.nan_to_num(self.losses, nan=np.inf).clip(max=2 * start)
        smoothed: NDArray[np.float64] = gaussian_filter1d(losses, max(1.0, WIDTH * len(losses)))
        return smoothed

    @property
    def suggestion(self) -> float | None:
        """Return the rate of the steepest fall before the minimum; None if the loss never falls."""
        smooth = self.smooth
        lowest = int(smooth.argmin())
        if lowest < 2 or smooth[lowest] > FALLS * smooth[0]:
            return None
        slopes = np.gradient(smooth[: lowest + 1], np.log(self.lrs[: lowest + 1]))
        return float(self.lrs[slopes.argmin()])

    def draw(self, path: Path) -> None:
        """Write the curve as a PNG file."""
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.lrs, self.losses, color="0.75", linewidth=1, label="one step")
        axes.plot(self.lrs, self.smooth, label="smoothed")
        if self.suggestion:
            axes.axvline(self.suggestion, color="C3", ls="--", label=f"{self.suggestion:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
        axes.set_ylim(0.9 * self.smooth.min(), 1.1 * self.smooth.max())
        axes.legend()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)


def find(cfg: DictConfig, low: float, high: float, steps: int) -> Curve:
    """Train for `steps` steps at rates from `low` to `high`, and discard the weights.

    All layers have the same rate: `model.backbone_lr_scale` has no effect.

    Raises:
        ValueError: If a bound, the number of steps or another setting cannot work.
    """
    if not 0 < low < high or steps < 20:
        raise ValueError(
            f"--low {low:g} --high {high:g} --steps {steps}: --low must be above 0 and below"
            " --high, and --steps at least 20"
        )
    filter_warnings()
    set_malloc_thresholds()
    data = factory.data_module(cfg)
    learner = build.learner(cfg, data)
    learner.sched = None
    options = {"max_epochs": -1, "devices": 1, "strategy": "auto", "limit_val_batches": 0}
    with tempfile.TemporaryDirectory() as scratch:  # Lightning saves and restores the weights
        trainer = build.trainer(
            cfg, **options, enable_checkpointing=False, default_root_dir=scratch
        )
        bounds = {"min_lr": low, "max_lr": high, "num_training": steps, "update_attr": False}
        found: Any = Tuner(trainer).lr_find(learner, datamodule=data, **bounds)  # type: ignore[arg-type]
    shown = np.array(found.results["loss"])
    averages = shown * (1 - BETA ** (np.arange(len(shown)) + 2))
    losses = (averages - BETA * np.r_[0.0, averages[:-1]]) / (1 - BETA)
    return Curve(np.array(found.results["lr"])[: len(shown)], losses)
