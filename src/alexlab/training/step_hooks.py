"""Skip empty hooks and the empty profiler: they are a third of Lightning's own time per step.

Lightning calls the hooks of all callbacks, even empty ones, and enters a profiler for each call.
These are 180 calls per step of a run, and take 5% of the time of a step of a small network.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import PassThroughProfiler

STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_test_batch_start",
    "on_test_batch_end",
)
NOTHING: AbstractContextManager[None] = nullcontext()


class NoProfiler(PassThroughProfiler):
    """Measure nothing, as Lightning's default profiler, but without a new generator per call."""

    def profile(self, action_name: str) -> Any:
        """Return a context that does nothing."""
        return NOTHING


def skip_empty_hooks(trainer: L.Trainer) -> None:
    """Set each step hook that a callback does not define to None; Lightning does not call None."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        for name in STEP_HOOKS:
            if getattr(getattr(callback, name), "__func__", None) is getattr(Callback, name):
                setattr(callback, name, None)
