"""Split a batch that does not fit into memory into parts and accumulate their gradients.

Each optimiser step still uses the mean over the same images. BatchNorm's statistics and dropout's
random numbers change, since they are computed per part.
"""

import gc
import logging
from typing import Any

import lightning as L
import torch
from torch import Tensor

from alexlab.performance.malloc import malloc_trim
from alexlab.performance.out_of_memory import is_out_of_memory

log = logging.getLogger(__name__)


class AutoBatch(L.Callback):
    """Halve the number of images computed at once after each out-of-memory error.

    The failed step is repeated from its beginning, from the state before it.

    Attributes:
        size: Images per part; None while batches are not split.
    """

    def __init__(self) -> None:
        self.size: int | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Replace the learner's training step by one that also computes the gradients.

        Raises:
            ValueError: If there are several devices: one device cannot repeat its step alone.
        """
        if trainer.world_size > 1:
            raise ValueError(
                f"trainer.auto_batch=true: works on one device, not on {trainer.world_size};"
                " set trainer.devices=1, or lower data.batch_size"
            )
        self._trainer, self._learner, self._step = trainer, pl_module, pl_module.training_step
        pl_module.training_step = self._training_step
        pl_module.optimizer_zero_grad = lambda *_: None
        pl_module.backward = self._backward

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the replacements, so that the learner's own methods are used again."""
        for name in ("training_step", "optimizer_zero_grad", "backward"):
            vars(pl_module).pop(name, None)

    def _training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        if batch_idx % self._trainer.accumulate_grad_batches == 0:
            self._learner.zero_grad()
        before = _StepState(self._learner)
        while True:
            try:
                return self._in_parts(batch, batch_idx)
            except (RuntimeError, MemoryError) as error:
                size = min(self.size or len(batch[1]), len(batch[1]))
                if size == 1 or not is_out_of_memory(error):
                    raise
            # here Python has freed the error, and with it all tensors of the failed attempt
            before.restore()
            self.size = (size + 1) // 2
            log.info(
                f"out of memory: batches are now computed in parts of {self.size} images, with"
                " accumulated gradients (the effective batch size stays the same)"
            )

    def _in_parts(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Accumulate the gradients of the batch; return its mean loss [] without a graph."""
        images, targets = batch
        total = torch.zeros((), device=images.device)
        size = self.size or len(targets)
        for part in zip(torch.split(images, size), torch.split(targets, size), strict=True):
            share = len(part[1]) / len(targets)
            loss: Any = self._step(part, batch_idx)
            scaled = loss * (share / self._trainer.accumulate_grad_batches)
            self._trainer.strategy.backward(scaled, None)
            total += loss.detach() * share
        return total

    def _backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        if loss.requires_grad:  # the loss of a part; the total has no graph
            loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]

    def state_dict(self) -> dict[str, Any]:
        """Return the size of a part."""
        return {"size": self.size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the saved size."""
        self.size = state_dict["size"]


class _StepState:
    """Store the state that a step changes: gradients, running statistics, random generators."""

    def __init__(self, learner: L.LightningModule) -> None:
        weights = dict(learner.named_parameters())
        self.learner = learner
        self.gradients = {k: p.grad.clone() for k, p in weights.items() if p.grad is not None}
        self.buffers = {k: v.clone() for k, v in learner.state_dict().items() if k not in weights}
        self.cpu = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state() if learner.device.type == "cuda" else None

    def restore(self) -> None:
        """Restore the stored state, and return unused memory to the system."""
        gc.collect()  # reference cycles of the failed attempt
        for name, p in self.learner.named_parameters():
            p.grad = self.gradients[name].clone() if name in self.gradients else None
        # copies: the state may be restored twice
        buffers = {name: tensor.clone() for name, tensor in self.buffers.items()}
        self.learner.load_state_dict(buffers, strict=False)
        torch.set_rng_state(self.cpu)
        malloc_trim()
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)
            torch.cuda.empty_cache()
