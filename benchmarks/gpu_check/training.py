"""Train for checks: settings, callbacks that measure, and the command line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch

from alexlab.performance.out_of_memory import friendly_oom_errors
from alexlab.runs.config import compose_config
from alexlab.runs.folder import RunFolder, read_history, read_metrics
from alexlab.training.run import TrainingRun
from benchmarks.gpu_check import names
from benchmarks.gpu_check.context import ROOT, Context

# the CIFAR-10 article's images at 64 and 128 pixels: 188 steps of 256 images per epoch
PAPER = ["model=alexnet", "optim=adam", "optim.lr=1e-4", "augment=crop", "data.batch_size=256"]
SIDES = {64: 70, 128: 130}  # resolution: load_size


def shapes(images: int, resolution: int = 32, batch: int = 16) -> list[str]:
    """Return the settings of data=shapes with few images, and with room to crop."""
    size = ["data=shapes", f"data.num_images={images}", f"data.resolution={resolution}"]
    return [*size, f"data.load_size={resolution + 4}", f"data.batch_size={batch}"]


def noise(context: Context, resolution: int = 64) -> list[str]:
    """Return the settings of the CIFAR-10 article's runs on the noise images."""
    folder = context.work / "noise"
    if not folder.is_dir():
        raise FileNotFoundError("the noise images are not there")
    size = [f"data.resolution={resolution}", f"data.load_size={SIDES[resolution]}"]
    return ["data=cifar10", f"data.root={folder}", *size, *PAPER]


@dataclass
class Trained:
    """Hold a finished run."""

    folder: Path
    training: TrainingRun
    metrics: dict[str, Any]
    wall_s: float  # seconds from the composed config to the end

    @property
    def history(self) -> list[dict[str, str]]:
        """Return the rows of history.csv."""
        return read_history(self.folder)


def compose(context: Context, *overrides: str) -> Any:
    """Compose a config whose cache is in the work folder."""
    return compose_config([f"cache_dir={context.work}/cache", *overrides])


def train(
    context: Context,
    name: str,
    *overrides: str,
    callbacks: Sequence[L.Callback] = (),
    prepare: Callable[[TrainingRun], None] | None = None,
) -> Trained:
    """Train in this process; `prepare` may change the run before it starts."""
    cfg, start = compose(context, *overrides), time.perf_counter()
    folder = context.run_dir(name)
    with (
        RunFolder(folder, keep=True) as run,
        friendly_oom_errors(cfg.data.batch_size, cfg.data.resolution),
    ):
        training = TrainingRun(cfg, run.path, run.record, trial=False)
        training.trainer.callbacks += callbacks  # type: ignore[attr-defined]
        if prepare is not None:
            prepare(training)
        training.run()
    metrics = read_metrics(folder) or {}
    return Trained(folder, training, metrics, time.perf_counter() - start)


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    """Return the weights of the net on the CPU."""
    state = trained.training.learner.net.state_dict()
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def synchronize() -> None:
    """Wait for the GPU, if one is in use."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


class EpochClock(L.Callback):
    """Measure seconds of training per epoch, and of whole epochs with validation and saves."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.training_s: list[float] = []
        self.first_step_s = 0.0
        self.created = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the epoch's clock."""
        synchronize()
        self.starts.append(time.perf_counter())

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the first step, with compilation."""
        if trainer.global_step == 1:
            synchronize()
            self.first_step_s = time.perf_counter() - self.starts[0]

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock of the training part."""
        synchronize()
        self.training_s.append(time.perf_counter() - self.starts[-1])

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the last epoch."""
        synchronize()
        self.starts.append(time.perf_counter())

    @property
    def epochs_s(self) -> list[float]:
        """Return the seconds of each whole epoch."""
        return [b - a for a, b in zip(self.starts, self.starts[1:], strict=False)]


class StepLosses(L.Callback):
    """Store the loss of each training step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Read the loss."""
        self.losses.append(float(outputs["loss"]))


class GradNorms(L.Callback):
    """Store the norm of all gradients that each optimiser step used."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compute the norm."""
        gradients = [p.grad.float() for p in pl_module.parameters() if p.grad is not None]
        total = torch.stack([g.norm() for g in gradients]).norm()
        self.norms.append(float(total))


class StopAt(L.Callback):
    """Send this process a SIGTERM during the training batch with this number, from 1."""

    def __init__(self, batch: int) -> None:
        self.batch, self.seen = batch, 0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batches, and send the signal."""
        self.seen += 1
        if self.seen == self.batch:
            os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class Done:
    """Hold the result of a command."""

    code: int
    output: str
    seconds: float

    @property
    def end(self) -> str:
        """Return its last three lines, joined."""
        return " | ".join(self.output.strip().splitlines()[-3:])[-300:]


def command(
    *words: str, timeout: float, environment: dict[str, str] | None = None, cwd: Path = ROOT
) -> Done:
    """Run `python -m WORDS` in its own process group; kill it after `timeout` seconds."""
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            output += f"\nkilled after {timeout:.0f} s"
    print(output)
    return Done(process.returncode, output, time.perf_counter() - start)


def command_train(
    context: Context,
    name: str,
    *overrides: str,
    timeout: float = 120,
    environment: dict[str, str] | None = None,
) -> tuple[Done, dict[str, Any]]:
    """Train with the command line; return its result, and metrics.json (empty if missing)."""
    folder = context.run_dir(name)
    settings = [f"cache_dir={context.work}/cache", f"hydra.run.dir={folder}"]
    done = command(names.CLI, *settings, *overrides, timeout=timeout, environment=environment)
    path = folder / "metrics.json"
    return done, json.loads(path.read_text()) if path.exists() else {}
