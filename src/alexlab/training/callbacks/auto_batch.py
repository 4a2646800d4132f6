"""When the memory does not hold a batch, it is taken in parts, and their gradients are added up.

The optimiser's steps stay what they were: the same images, the same mean over them. What changes is
what a layer sees at a time: BatchNorm's statistics and dropout's draws are those of the parts.
"""

import gc
from typing import Any

import lightning as L
import torch
from torch import Tensor

from alexlab.performance.malloc import malloc_trim
from alexlab.performance.out_of_memory import is_out_of_memory


class AutoBatch(L.Callback):
    """Halves the part that is computed at a time whenever the memory is not enough for it.

    A step that fails is taken again from its beginning: nothing of the failed attempt counts.

    Attributes:
        size: Images in a part; None while a batch is taken whole.
    """

    def __init__(self) -> None:
        self.size: int | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Step in where the learner computes a batch: its gradients are there after its step.

        Raises:
            ValueError: Several devices share the training, which leave no step to one alone.
        """
        if trainer.world_size > 1:
            raise ValueError("trainer.auto_batch=true works on one device, not on several")
        self._trainer, self._learner, self._step = trainer, pl_module, pl_module.training_step
        pl_module.training_step = self._training_step
        pl_module.optimizer_zero_grad = lambda *_: None
        pl_module.backward = self._backward

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Step out: the learner's class has its own."""
        for name in ("training_step", "optimizer_zero_grad", "backward"):
            vars(pl_module).pop(name, None)

    def _training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        if batch_idx % self._trainer.accumulate_grad_batches == 0:
            self._learner.zero_grad()
        before = _State(self._learner)
        while True:
            try:
                return self._in_parts(batch, batch_idx)
            except (RuntimeError, MemoryError) as error:
                size = min(self.size or len(batch[1]), len(batch[1]))
                if size == 1 or not is_out_of_memory(error):
                    raise
            # here the error, and with it all that the failed attempt held, is gone
            before.restore()
            self.size = (size + 1) // 2
            print(
                f"out of memory: batches are now taken in parts of {self.size}, whose gradients"
                " are added up (the same effective batch)",
                flush=True,
            )

    def _in_parts(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The batch's mean loss [], without a graph; its gradients are added to the weights'."""
        images, targets = batch
        total = torch.zeros((), device=images.device)
        size = self.size or len(targets)
        for part in zip(torch.split(images, size), torch.split(targets, size), strict=True):
            share = len(part[1]) / len(targets)
            loss: Any = self._step(part, batch_idx)
            own = loss * (share / self._trainer.accumulate_grad_batches)
            self._trainer.strategy.backward(own, None)
            total += loss.detach() * share
        return total

    def _backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        if loss.requires_grad:  # a part, not the total
            loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]

    def state_dict(self) -> dict[str, Any]:
        """The size that fits."""
        return {"size": self.size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it."""
        self.size = state_dict["size"]


class _State:
    """What a step changes: gradients, running means and statistics, random numbers."""

    def __init__(self, learner: L.LightningModule) -> None:
        weights = dict(learner.named_parameters())
        self.learner = learner
        self.gradients = {k: p.grad.clone() for k, p in weights.items() if p.grad is not None}
        self.kept = {k: v.clone() for k, v in learner.state_dict().items() if k not in weights}
        self.cpu = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state() if learner.device.type == "cuda" else None

    def restore(self) -> None:
        """Put it back, and give unused memory back to the system."""
        gc.collect()  # what the failed attempt held, and refers to itself
        for name, p in self.learner.named_parameters():
            p.grad = self.gradients[name].clone() if name in self.gradients else None
        kept = {name: tensor.clone() for name, tensor in self.kept.items()}  # it may come twice
        self.learner.load_state_dict(kept, strict=False)
        torch.set_rng_state(self.cpu)
        malloc_trim()
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)
            torch.cuda.empty_cache()
