"""Compute wide linear layers with oneDNN while a net trains on a CPU.

PyTorch computes float32 products with MKL. For a small batch and a large weight, such as AlexNet's
layer of 9,216 x 4,096 at batch 16, MKL takes two to three times as long as oneDNN. The forward
product is weights x features, to read the large factor in memory order. Parameters and state dict
do not change; results differ only by rounding.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WIDE = 1 << 20  # number of weights; smaller layers take little time


def use_onednn(net: nn.Module) -> None:
    """Convert the wide linear layers of `net` to `WideLinear`, if this PyTorch has oneDNN."""
    if not torch.backends.mkldnn.is_available() or not _op_works():  # type: ignore[no-untyped-call]
        return
    for layer in net.modules():
        wide = type(layer) is nn.Linear and layer.weight.numel() >= WIDE
        if wide and layer.bias is not None:  # adding it makes a tensor that may change in place
            layer.__class__ = WideLinear


class WideLinear(nn.Linear):
    """Compute `nn.Linear` with oneDNN for a float32 batch [N, I] on a CPU that needs gradients.

    For half precision, PyTorch itself uses oneDNN on the processors that support it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map features [N, I] to [N, O]."""
        float32 = input.dtype == self.weight.dtype == torch.float32
        if not float32 or input.ndim != 2 or input.device.type != "cpu" or _no_float32_gradient():
            return super().forward(input)
        outputs: Tensor = _Product.apply(input, self.weight)
        return outputs + self.bias


def _no_float32_gradient() -> bool:
    return torch.is_autocast_enabled("cpu") or not torch.is_grad_enabled()


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor) -> Tensor:
        """Compute features [N, I] @ weight.T [I, O] -> [N, O]."""
        ctx.save_for_backward(features, weight)
        return _product(weight, features).t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Compute the gradients of the features [N, I] and of the weight [O, I] from [N, O]."""
        features, weight = ctx.saved_tensors
        needs_features, needs_weight = ctx.needs_input_grad
        grad = grad.contiguous()
        return (
            _product(grad, weight.t()) if needs_features else None,
            _product(grad.t().contiguous(), features.t()) if needs_weight else None,
        )


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Compute left [A, B] @ right.T [B, C] with oneDNN's inner product."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    return result


def _op_works() -> bool:
    """Return whether the operation works; it is private, and a PyTorch release may change it."""
    try:
        product = _product(torch.ones(1, 2), torch.full((1, 2), 3.0))
    except (AttributeError, RuntimeError, TypeError):
        return False
    return product.shape == (1, 1) and product.item() == 6
