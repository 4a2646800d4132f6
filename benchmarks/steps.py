"""Compare a training step with a bare loop: `python -m benchmarks.steps NET [--precision P]`.

Blocks of steps of alexlab and of a bare loop run alternately, in one process, with the same net,
images, optimiser, precision and threads: a busy machine slows both. The bare loop has the loader
and the preprocessing of alexlab. The output is JSON: the median ms per step of both.
"""

import argparse
import contextlib
import copy
import io
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch

from alexlab.runs.config import compose_config
from alexlab.training.run import TrainingRun

BLOCK = 10  # number of steps before the other loop runs
WARM_UP = 10  # number of first steps that are left out
NETS = {  # steps, batch size, other settings
    "small_cnn": (1000, 8, ["model=small_cnn", "data.resolution=32"]),
    "score_cnn": (
        30,
        32,
        ["model=score_cnn", "data.resolution=128", "data.targets=score", "task=regression"],
    ),
    "alexnet": (160, 8, ["model=alexnet", "data.resolution=64"]),
    "alexnet_torchvision": (80, 16, ["model=alexnet_torchvision", "data.resolution=64"]),
    "alexnet_torchvision_224": (30, 16, ["model=alexnet_torchvision", "data.resolution=224"]),
}


class Alternate(L.Callback):
    """Time the steps of the training; after each block of them, run and time bare steps."""

    def __init__(self, run: TrainingRun, *, bf16: bool) -> None:
        self.data, self.loss, self.bf16 = run.data, run.learner.task.loss, bf16
        self.net = copy.deepcopy(run.learner.net).train()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.9, fused=True)
        self.alexlab: list[float] = []
        self.bare: list[float] = []
        self._batches: Any = iter(())
        self._started: float | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the seconds since the previous step; run bare steps at the end of a block."""
        now = time.perf_counter()
        if self._started is not None:
            self.alexlab.append(now - self._started)
        self._started = None
        if (batch_idx + 1) % BLOCK == 0:
            with torch.enable_grad():
                self._bare_steps()
        else:
            self._started = time.perf_counter()

    def _bare_steps(self) -> None:
        started = None
        for _ in range(BLOCK + 1):
            images, targets = self._next_batch()
            self.optimizer.zero_grad()
            inputs = self.data.preprocess(images, training=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                outputs = self.net(inputs)
            self.loss(outputs.float(), targets).backward()
            self.optimizer.step()
            now = time.perf_counter()
            if started is not None:
                self.bare.append(now - started)
            started = now

    def _next_batch(self) -> Any:
        for batch in self._batches:
            return batch
        self._batches = iter(self.data.train_dataloader())
        return next(self._batches)


def measure(name: str, precision: str, steps: int | None = None) -> dict[str, float]:
    """Train an epoch on generated images; return ms per step of alexlab and of the bare loop."""
    most, batch_size, settings = NETS[name]
    steps = steps or most
    settings = [*settings, f"data.batch_size={batch_size}", f"trainer.precision={precision}"]
    settings += [f"data.num_images={int(steps * batch_size / 0.7) + 10}", "trainer.max_epochs=1"]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        own = ["trainer.accelerator=cpu", f"cache_dir={folder}/.cache"]
        (Path(folder) / "checkpoints").mkdir()
        run = TrainingRun(compose_config([*settings, *own]), Path(folder), {}, trial=True)
        clock = Alternate(run, bf16=precision == "bf16-mixed")
        run.trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        run.run()
    medians = (statistics.median(t[WARM_UP:]) for t in (clock.alexlab, clock.bare))
    return dict(zip(("alexlab", "bare loop"), (1e3 * value for value in medians), strict=True))


def main() -> None:
    """Measure one net and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("net", choices=NETS)
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
    parser.add_argument("--steps", type=int)
    args = parser.parse_args()
    print(json.dumps(measure(args.net, args.precision, args.steps)))


if __name__ == "__main__":
    main()
