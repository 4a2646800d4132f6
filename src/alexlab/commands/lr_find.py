"""Finds a learning rate: `alexlab lr-find model=alexnet data=pokemon`.

The rate rises with each step while the loss is watched (Smith 2017, "Cyclical Learning Rates for
Training Neural Networks", section 3.3); good rates are where it falls fastest. This is Lightning's
finder, on weights that are thrown away afterwards; a picture is all that is kept. Its curve is
taken back to the losses of the single steps: Lightning's average starts at 0 instead of at the
first loss (Lightning issue 14167), lags behind by 50 steps, and its suggestion takes slopes over
the rate instead of over its logarithm, which prefers the smallest rates (issue 21141).
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.tuner.tuning import Tuner
from matplotlib.figure import Figure
from numpy.typing import NDArray
from omegaconf import DictConfig
from scipy.ndimage import gaussian_filter1d

from alexlab import factory
from alexlab.errors import user_errors
from alexlab.library_warnings import filter_warnings
from alexlab.performance.malloc import set_malloc_thresholds
from alexlab.runs import config as run_config
from alexlab.training import build

BETA = 0.98  # of Lightning's average
WIDTH = 0.04  # of the smoothing that we do instead: a share of the steps, to both sides
FALLS = 0.95  # of the first loss: what is above that has not fallen


@dataclass(frozen=True)
class Curve:
    """The loss at each rate; ends where it blew up."""

    lrs: NDArray[np.float64]
    losses: NDArray[np.float64]

    @property
    def smooth(self) -> NDArray[np.float64]:
        """The losses, averaged with their neighbours; what blew up counts as twice the first."""
        start = float(np.median(self.losses[:5]))
        losses = np.nan_to_num(self.losses, nan=np.inf).clip(max=2 * start)
        smoothed: NDArray[np.float64] = gaussian_filter1d(losses, max(1.0, WIDTH * len(losses)))
        return smoothed

    @property
    def suggestion(self) -> float | None:
        """The rate at which the loss falls fastest, before it is lowest; None where it does not."""
        smooth = self.smooth
        lowest = int(smooth.argmin())
        if lowest < 2 or smooth[lowest] > FALLS * smooth[0]:
            return None
        slopes = np.gradient(smooth[: lowest + 1], np.log(self.lrs[: lowest + 1]))
        return float(self.lrs[slopes.argmin()])

    def draw(self, path: Path) -> None:
        """Write the picture."""
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
    """Train for `steps` steps at rates from `low` to `high`, and forget the weights.

    All layers get the same rate, whatever `model.backbone_lr_scale` says.
    """
    filter_warnings()
    set_malloc_thresholds()
    data = factory.data_module(cfg)
    learner = build.learner(cfg, data)
    learner.sched = None
    options = build.trainer_options(cfg) | {"max_epochs": -1, "devices": 1, "strategy": "auto"}
    options |= {"limit_val_batches": 0, "enable_checkpointing": False}
    with tempfile.TemporaryDirectory() as scratch:  # Lightning saves the weights, and loads them
        trainer = L.Trainer(**options, default_root_dir=scratch)
        bounds = {"min_lr": low, "max_lr": high, "num_training": steps, "update_attr": False}
        found: Any = Tuner(trainer).lr_find(learner, datamodule=data, **bounds)  # type: ignore[arg-type]
    shown = np.array(found.results["loss"])
    averages = shown * (1 - BETA ** (np.arange(len(shown)) + 2))
    losses = (averages - BETA * np.r_[0.0, averages[:-1]]) / (1 - BETA)
    return Curve(np.array(found.results["lr"])[: len(shown)], losses)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Finds a learning rate for a net, a data set and an optimiser.",
        prog="alexlab lr-find",
    )
    parser.add_argument("settings", nargs="*", help="as for src.train: model=alexnet optim=adam")
    parser.add_argument("--low", type=float, default=1e-5, help="first rate (default 1e-5)")
    parser.add_argument("--high", type=float, default=1.0, help="last rate (default 1)")
    parser.add_argument("--steps", type=int, default=400, help="training steps (default 400)")
    parser.add_argument("--out", type=Path, default=Path("multirun/lr_find.png"), help="PNG file")
    args = parser.parse_args(arguments)
    with user_errors():
        if not 0 < args.low < args.high or args.steps < 20:
            raise ValueError("--low must be above 0 and below --high, --steps at least 20")
        found = find(run_config.compose_config(args.settings), args.low, args.high, args.steps)
        found.draw(args.out)
        print(args.out)
        if found.suggestion is None:
            raise ValueError(
                f"no suggestion: in {args.steps} steps the loss fell at no rate. Nets that start on"
                " a plateau (AlexNet) need\nseveral hundred --steps; or see where the curve blows"
                " up, and take a tenth of that"
            )
        lowest = found.lrs[found.smooth.argmin()]
        print(f"optim.lr={found.suggestion:.2g}   (falls fastest here; lowest at {lowest:.2g})")


if __name__ == "__main__":
    main()
