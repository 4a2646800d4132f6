"""Compare CPU times of training steps with a bare loop: `python -m benchmarks.step [MODEL ...]`.

Ten steps of alexlab and ten of a bare loop run alternately, in one process on one thread, with the
same net, images and optimiser: a busy machine slows both. The output has medians in ms of CPU time.
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

from alexlab.runs.config import compose_config
from alexlab.training.run import TrainingRun

BLOCK = 10  # steps of one loop before steps of the other
WARM_UP = 10  # first steps, which are not counted

ROWS = {  # steps, batch size, other settings
    "small_cnn": (200, 8, ["data.resolution=32"]),
    "alexnet": (80, 8, ["data.resolution=64"]),
    "score_alexnet": (40, 32, ["data.resolution=128", "data.targets=score", "task=regression"]),
}


class Alternate(L.Callback):
    """Measure the steps of the training, and a block of bare steps after each block of them."""

    def __init__(self, run: TrainingRun) -> None:
        self.data, self.loss = run.data, run.learner.task.loss
        self.net = copy.deepcopy(run.learner.net).train()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.9, fused=True)
        self.alexlab: list[float] = []
        self.bare: list[float] = []
        self._batches: Any = iter(())
        self._started: float | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Store the time since the previous step."""
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
            self.loss(outputs, targets).backward()
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


def measure(model: str) -> tuple[float, float]:
    """Train one epoch on generated images; return ms per step of alexlab and of the bare loop."""
    steps, batch_size, settings = ROWS[model]
    settings = [f"model={model}", *settings, f"data.batch_size={batch_size}"]
    settings += [f"data.num_images={int(steps * batch_size / 0.7)}", "trainer.max_epochs=1"]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        own = ["trainer.accelerator=cpu", f"cache_dir={folder}/.cache"]
        (Path(folder) / "checkpoints").mkdir()
        run = TrainingRun(compose_config([*settings, *own]), Path(folder), {}, trial=False)
        clock = Alternate(run)
        run.trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        run.run()
    alexlab, bare = (statistics.median(t[WARM_UP:]) for t in (clock.alexlab, clock.bare))
    return 1e3 * alexlab, 1e3 * bare


def main() -> None:
    """Measure each model several times, and print a line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if unknown := set(args.models) - set(ROWS):
        parser.error(f"{min(unknown)}: unknown model; choose from {', '.join(ROWS)}")
    torch.set_num_threads(1)
    for _ in range(args.rounds):
        for model in args.models or ROWS:
            alexlab, bare = measure(model)
            shown = f"alexlab {alexlab:.2f} ms   bare loop {bare:.2f} ms"
            print(f"{model:13}   {shown}   ratio {alexlab / bare:.3f}", flush=True)


if __name__ == "__main__":
    main()
