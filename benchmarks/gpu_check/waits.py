"""Count how often the CPU waits for the GPU within a training step.

On a GPU, torch's sync debug mode reports each wait with its line. Without a GPU, the preparation of
a batch runs on fake GPU tensors, and each operation that would wait is counted.
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate

from alexlab.data.preprocess import Preprocess
from benchmarks.gpu_check.context import ROOT, Context, Result
from benchmarks.gpu_check.training import compose, shapes, train

AUGMENTATIONS = ["none", "crop", "flip", "shift", "affine", "colour", "alexnet", "randaugment"]
REPRESENTATIONS = ["rgb", "dct", "fft", "hsv", "gray"]
FIRST, LAST = 2, 15  # measured steps; the NaN guard reads the losses every 16 steps
WAIT = "called a synchronizing CUDA operation"


def combinations() -> list[tuple[str, str]]:
    """List each augmentation with rgb, each representation with crops, then all others."""
    first = [(a, "rgb") for a in AUGMENTATIONS] + [("crop", r) for r in REPRESENTATIONS[1:]]
    every = [(a, r) for a in AUGMENTATIONS for r in REPRESENTATIONS]
    return first + [pair for pair in every if pair not in first]


def waits_per_step(context: Context) -> Iterator[Result]:
    """Count the waits of each augmentation and of each representation: none is allowed."""
    yield from count(context, combinations()[:12])


def others(context: Context) -> Iterator[Result]:
    """Count the waits of all other pairs of an augmentation and a representation."""
    yield from count(context, combinations()[12:])


def count(context: Context, pairs: list[tuple[str, str]]) -> Iterator[Result]:
    """Count the waits of each pair."""
    for augment, representation in pairs:
        settings = [f"augment={augment}", f"data.representation={representation}"]
        name = f"waits.{augment}.{representation}"
        try:
            waits = (
                on_gpu(context, name, settings) if context.on_gpu else on_fake(context, settings)
            )
        except Exception as error:  # continue with the other combinations
            yield Result(name, False, f"{type(error).__name__}: {str(error)[:200]}")
            continue
        steps = LAST - FIRST + 1 if context.on_gpu else 1
        places = ", ".join(f"{count / steps:.3g} at {at}" for at, count in waits.most_common(4))
        per_step = sum(waits.values()) / steps
        text = f"{per_step:.3g} waits per step" + (f": {places}" if places else "")
        yield Result(name, not waits, text, dict(waits))


class WaitCounter(L.Callback):
    """Count the waits of steps FIRST to LAST of the first epoch by the lines that cause them."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.steps = 0
        self._caught: Any = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start after the step before FIRST, stop after LAST."""
        if trainer.current_epoch:
            return
        if batch_idx + 1 == FIRST - 1:
            torch.cuda.synchronize()
            self._caught = warnings.catch_warnings(record=True)
            self.list = self._caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
        elif batch_idx + 1 == LAST:
            torch.cuda.set_sync_debug_mode("default")
            self.steps = LAST - FIRST + 1
            self._caught.__exit__(None, None, None)
            self.waits.update(place(w) for w in self.list if WAIT in str(w.message))


def place(warning: warnings.WarningMessage) -> str:
    """Return the file and line of a warning, with a short path."""
    path = Path(warning.filename)
    inside = path.is_relative_to(ROOT)
    shown = path.relative_to(ROOT) if inside else Path(*path.parts[-3:])
    return f"{shown}:{warning.lineno}"


def on_gpu(context: Context, name: str, settings: list[str]) -> Counter[str]:
    """Train one epoch of 20 steps and return the waits.

    Raises:
        RuntimeError: If the measured steps did not run.
    """
    counter = WaitCounter()
    small = ["model=alexnet", "model.width=0.1", "model.head=[16,16]", "trainer.max_epochs=1"]
    train(context, name, *shapes(500), *small, *settings, callbacks=[counter])
    if not counter.steps:
        raise RuntimeError("the run was too short to be watched")
    return counter.waits


def on_fake(context: Context, settings: list[str]) -> Counter[str]:
    """Prepare a fake training batch and return the waits, counted with tests/waits.py."""
    from tests.waits import GPU, Waits

    cfg = compose(context, *shapes(500), *settings)
    preprocess = Preprocess(
        cfg.data.resolution,
        augment=instantiate(cfg.augment) or None,
        representation=cfg.data.representation,
    )
    with Waits() as waits:
        images = torch.empty(16, 3, 36, 36, dtype=torch.uint8, device=GPU)
        preprocess(images, training=True)  # moves constants to the device, once per run
        waits.found.clear()
        preprocess(images, training=True)
    return Counter(waits.found)
