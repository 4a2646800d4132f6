"""Clip and report gradients in mixed precision with fused optimisers too.

A fused optimiser unscales its gradients itself, and Lightning 2.6.6 relies on that. It refuses
`gradient_clip_val` with fused optimisers, even in bf16-mixed, which has no scale (Lightning issue
21435, fixed after 2.6.6); in 16-mixed, hooks get loss and gradients multiplied by the scale (65,536
at first). torch's GradScaler can unscale the gradients of a fused optimiser before its step.
"""

from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.fabric.plugins.precision import amp
from lightning.fabric.utilities.types import Optimizable
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor
from torch.optim import Optimizer


class UnscaledMixedPrecision(MixedPrecision):
    """Call hooks with the unscaled loss, and unscale gradients before hooks and clipping."""

    def pre_backward(self, tensor: Tensor, module: L.LightningModule) -> Tensor:  # type: ignore[override]
        """Call the hooks with the loss [], then scale it."""
        loss = Precision.pre_backward(self, tensor, module)
        return loss if self.scaler is None else self.scaler.scale(loss)

    def optimizer_step(  # type: ignore[override]
        self,
        optimizer: Optimizable,
        model: L.LightningModule,
        closure: Callable[[], Any],
        **kwargs: Any,
    ) -> Any:
        """Compute the gradients, unscale them for a fused optimiser, then take the step."""

        def compute_gradients() -> Any:
            loss = closure()
            if self.scaler is not None and is_fused(optimizer):
                self.scaler.unscale_(optimizer)  # type: ignore[arg-type]
            return loss

        return super().optimizer_step(optimizer, model, compute_gradients, **kwargs)

    def clip_gradients(
        self,
        optimizer: Optimizer,
        clip_val: int | float = 0.0,
        gradient_clip_algorithm: GradClipAlgorithmType = GradClipAlgorithmType.NORM,
    ) -> None:
        """Clip the unscaled gradients."""
        Precision.clip_gradients(self, optimizer, clip_val, gradient_clip_algorithm)


def is_fused(optimizer: Optimizable) -> bool:
    """Return whether `optimizer` unscales gradients itself, so that Lightning does not."""
    return amp._optimizer_handles_unscaling(optimizer)


def clip_with_fused_optimizers(trainer: L.Trainer) -> None:
    """Replace Lightning's mixed precision plugin in `trainer`; leave other precisions unchanged."""
    plugin = trainer.precision_plugin
    if type(plugin) is MixedPrecision:
        precision: Any = plugin.precision
        unscaled = UnscaledMixedPrecision(precision, plugin.device, plugin.scaler)
        trainer.strategy.precision_plugin = unscaled
