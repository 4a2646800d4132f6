"""Wide linear layers through oneDNN, while a net trains on a CPU.

PyTorch hands float32 products to MKL, which takes two to three times as long as oneDNN where a
batch is small and the weights are many: AlexNet's layer of 9,216 x 4,096 at batch 16. The forward
product is taken as weights x images, so that the large factor is read as it lies. The layer's
parameters, its state dict and what it computes stay the same.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WIDE = 1 << 20  # weights; narrower layers cost next to nothing


def use_onednn(net: nn.Module) -> None:
    """Give the wide linear layers of `net` the faster product, where this PyTorch has oneDNN."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for layer in net.modules():
        wide = type(layer) is nn.Linear and layer.weight.numel() >= WIDE
        if wide and layer.bias is not None:  # the sum with it is no view, which may be overwritten
            layer.__class__ = WideLinear


class WideLinear(nn.Linear):
    """`nn.Linear`, by another way where a float32 batch [N, I] on a CPU is to be differentiated.

    Half precision stays PyTorch's: it asks oneDNN itself, and knows which processors can.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Features [N, I] -> [N, O]."""
        single = input.dtype == self.weight.dtype == torch.float32
        if not single or input.ndim != 2 or input.device.type != "cpu" or _plain():
            return super().forward(input)
        outputs: Tensor = _Product.apply(input, self.weight)
        return outputs + self.bias


def _plain() -> bool:
    return torch.is_autocast_enabled("cpu") or not torch.is_grad_enabled()


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor) -> Tensor:
        """Features [N, I], weight [O, I] -> features @ weight.T [N, O]."""
        ctx.save_for_backward(features, weight)
        return _product(weight, features).t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Grad [N, O] -> the gradients of the features [N, I] and of the weight [O, I]."""
        features, weight = ctx.saved_tensors
        of_features, of_weight = ctx.needs_input_grad
        grad = grad.contiguous()
        return (
            _product(grad, weight.t()) if of_features else None,
            _product(grad.t().contiguous(), features.t()) if of_weight else None,
        )


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Left [A, B] @ right.T [B, C] by oneDNN's inner product."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    return result
