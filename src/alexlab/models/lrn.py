"""Local response normalisation (Krizhevsky et al. 2012, section 3.3), with its own gradient.

b_i = a_i / (k + alpha * sum of a_j^2 over the n kernels j around i) ^ beta, in the paper with
k=2, n=5, alpha=1e-4, beta=0.75. `torch.nn.LocalResponseNorm` with alpha=5e-4 (it divides by n)
computes the same, but takes six times as long on a CPU: a third of AlexNet's step at 128 pixels.

On a GPU, memory access takes most of the time: one Triton kernel for the forward pass and one for
the backward pass replace 27 small kernels per layer.
"""

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

K, ALPHA = 2.0, 1e-4  # n = 5 and beta = 3/4 are fixed in the code below


class LocalResponseNorm(nn.Module):
    """Normalise maps [N, C, H, W] in float32; the result has their shape and dtype."""

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise each value by the values of five kernels: its own and two on each side."""
        if _for_triton(maps) and (normalise := _triton()) is not None:
            on_gpu: Tensor = normalise.apply(maps, K, ALPHA)
            return on_gpu
        if not (torch.is_grad_enabled() and maps.requires_grad):
            return (maps * _powers(maps.float())[1]).to(maps.dtype)
        normalised: Tensor = _Normalise.apply(maps)
        return normalised


def _for_triton(maps: Tensor) -> bool:
    """Return whether the Triton kernels apply: a GPU tensor, and no torch.compile (it fuses)."""
    plain = type(maps) is Tensor and maps.is_cuda and maps.dim() == 4
    return plain and maps.numel() < 2**31 and not torch.compiler.is_compiling()


@cache
def _triton() -> type[torch.autograd.Function] | None:
    """Import and run the Triton kernels once; warn and return None if that fails."""
    try:
        from alexlab.models.lrn_triton import Normalise

        with torch.enable_grad():
            maps = torch.ones(1, 1, 1, 1, device="cuda", requires_grad=True)
            Normalise.apply(maps, K, ALPHA).sum().backward()
    except Exception as error:  # no Triton, no C compiler, another version of either
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        warnings.warn(
            f"norm=lrn uses many small GPU kernels instead of one ({reason}); this is slower, but"
            " the results are the same",
            stacklevel=3,
        )
        return None
    return Normalise


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        inverse_root, factor = _powers(maps.float())
        ctx.save_for_backward(maps, inverse_root, factor)
        return (maps * factor).to(maps.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        maps, inverse_root, factor = ctx.saved_tensors
        direct = gradients[0] * factor  # through the numerator; below, through the sums
        through_sums = _window_sums((direct * maps).mul_(inverse_root).mul_(inverse_root))
        through_sums.mul_(maps).mul_(2 * 0.75 * ALPHA)
        gradient: Tensor = direct.sub_(through_sums).to(maps.dtype)
        return gradient


def _powers(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Compute (k + alpha * sum) ^ -1/2 and ^ -3/4; roots are faster than a general power."""
    inverse_root = _window_sums(maps.square()).mul_(ALPHA).add_(K).rsqrt_()
    return inverse_root, inverse_root.sqrt().mul_(inverse_root)


def _window_sums(maps: Tensor) -> Tensor:
    """Sum each kernel i with its existing neighbours i-2 to i+2."""
    sums, kernels = maps.clone(), maps.shape[1]
    for distance in (1, 2):
        sums[:, distance:] += maps[:, : kernels - distance]
        sums[:, : kernels - distance] += maps[:, distance:]
    return sums
