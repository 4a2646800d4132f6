"""CPU time of a training step beside a bare loop: `python -m benchmarks.step --model small_cnn`.

Ten steps of alexlab and ten of a bare loop run in turn, in one process on one thread, with the same
net, images and optimiser: a busy machine slows both. The output is medians in ms of CPU time.
"""

import argparse
import contextlib
import copy
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.nn.functional import cross_entropy

from alexlab.runs.config import compose_config
from alexlab.training.run import TrainingRun

BLOCK = 10  # steps of one loop before the other one's turn
WARM_UP = 20  # steps that do not count


class Alternate(L.Callback):
    """Measure the steps of the training, and after each block of them a block of bare steps."""

    def __init__(self, run: TrainingRun) -> None:
        self.data, self.net = run.data, copy.deepcopy(run.learner.net).train()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.9, fused=True)
        self.alexlab: list[float] = []
        self.bare: list[float] = []
        self._batches: Any = iter(())
        self._started: float | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the time since the step before."""
        now = time.process_time()
        if self._started is not None:
            self.alexlab.append(now - self._started)
        self._started = None
        if (batch_idx + 1) % BLOCK == 0:
            with torch.enable_grad():
                self._bare_steps()
        else:
            self._started = time.process_time()

    def _bare_steps(self) -> None:
        started = None
        for _ in range(BLOCK + 1):
            images, targets = self._next_batch()
            self.optimizer.zero_grad()
            outputs = self.net(self.data.preprocess(images, training=True))
            cross_entropy(outputs, targets).backward()
            self.optimizer.step()
            now = time.process_time()
            if started is not None:
                self.bare.append(now - started)
            started = now

    def _next_batch(self) -> Any:
        for batch in self._batches:
            return batch
        self._batches = iter(self.data.train_dataloader())
        return next(self._batches)


def main() -> None:
    """Train one epoch of generated images, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="small_cnn")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    overrides = [
        f"model={args.model}",
        f"data.resolution={args.resolution}",
        f"data.batch_size={args.batch_size}",
        f"data.num_images={int(args.steps * args.batch_size / 0.75)}",
        "trainer.max_epochs=1",
        "trainer.accelerator=cpu",
    ]
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            cfg = compose_config([*overrides, f"cache_dir={folder}/.cache"])
            (Path(folder) / "checkpoints").mkdir()
            run = TrainingRun(cfg, Path(folder), {}, trial=False)
            clock = Alternate(run)
            run.trainer.callbacks.append(clock)  # type: ignore[attr-defined]
            with contextlib.redirect_stdout(io.StringIO()):
                run.run()
        alexlab, bare = (
            1e3 * statistics.median(times[WARM_UP:]) for times in (clock.alexlab, clock.bare)
        )
        print(f"alexlab {alexlab:.2f} ms   bare loop {bare:.2f} ms   ratio {alexlab / bare:.2f}")


if __name__ == "__main__":
    main()
