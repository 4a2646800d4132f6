"""Measure the cost of `fit_metrics=true`: `python -m benchmarks.fit_metrics`, with DATA_DIR set.

Train the same short run alternately without and with it, in one process on one thread, and compare
CPU times: a busy machine slows both. The number of extra passes does not depend on the length of
the training; the output is their cost as a share of runs of 24, 60 and 150 epochs.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path

import torch

from alexlab.runs.config import compose_config
from alexlab.training.run import TrainingRun

LENGTHS = 24, 60, 150  # epochs


def cpu_time(overrides: list[str]) -> float:
    """Train once, and return the CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "checkpoints").mkdir()
        run = TrainingRun(compose_config(overrides), Path(folder), {}, trial=False)
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            run.run()
        return time.process_time() - start


def main() -> None:
    """Print the cost in each round, and its share of runs of several lengths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="alexnet")
    parser.add_argument("--data", default="pokemon")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="other settings, such as model.width=0.5")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        overrides = [
            f"model={args.model}",
            f"data={args.data}",
            f"data.batch_size={args.batch_size}",
            f"cache_dir={cache}",
            "optim=sgd",
            "trainer.accelerator=cpu",
            "trainer.precision=32-true",
            *args.overrides,
        ]
        cpu_time([*overrides, "trainer.max_epochs=1"])  # decodes the images into the cache
        costs, epochs = [], []
        for _ in range(args.rounds):
            one = cpu_time([*overrides, "trainer.max_epochs=1"])
            without, with_it = (
                cpu_time(
                    [*overrides, f"trainer.max_epochs={args.epochs}", f"fit_metrics={setting}"]
                )
                for setting in ("false", "true")
            )
            costs.append(with_it - without)
            epochs.append((without - one) / (args.epochs - 1))
            print(f"an epoch {epochs[-1]:.2f} s   fit_metrics {costs[-1]:.2f} s", flush=True)
    cost, epoch = statistics.median(costs), statistics.median(epochs)
    shares = (f"{n} epochs {cost / (n * epoch):.1%}" for n in LENGTHS)
    print(f"{args.model}, median of {args.rounds} rounds: {', '.join(shares)}")


if __name__ == "__main__":
    main()
