"""Mixed precision that clips and reports gradients with fused optimisers too.

Lightning 2.6.6 leaves unscaling to fused optimisers. So it refuses `gradient_clip_val` with them,
in bf16-mixed too, where nothing is scaled (Lightning issue 21435, fixed after 2.6.6), and hooks see
loss and gradients of 16-mixed multiplied by the scale, 65,536 at first. torch's GradScaler can
unscale the gradients of a fused optimiser before its step.
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
    """Show hooks the unscaled loss, and unscale gradients before hooks and clipping."""

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
        """Unscale the gradients of a fused optimiser once they are complete, then take the step."""

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
        """Clip the gradients, which are unscaled here."""
        Precision.clip_gradients(self, optimizer, clip_val, gradient_clip_algorithm)


def is_fused(optimizer: Optimizable) -> bool:
    """Return whether `optimizer` unscales gradients itself, so that Lightning does not."""
    return amp._optimizer_handles_unscaling(optimizer)


def clip_with_fused_optimizers(trainer: L.Trainer) -> None:
    """Replace Lightning's mixed precision in `trainer`; other precisions stay as they are."""
    plugin = trainer.precision_plugin
    if type(plugin) is MixedPrecision:
        precision: Any = plugin.precision
        unscaled = UnscaledMixedPrecision(precision, plugin.device, plugin.scaler)
        trainer.strategy.precision_plugin = unscaled
