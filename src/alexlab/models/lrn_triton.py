"""Local response normalisation on a GPU: one Triton kernel forward and one backward.

Both kernels read each value from memory once; values of neighbours come from the GPU's cache.
`alexlab.models.lrn` has the formula and decides when to use this module. The import needs Triton.
"""

# ruff: noqa: ANN001, ANN202
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # values per program


class Normalise(torch.autograd.Function):
    """Normalise maps [N, C, H, W] in any dense memory format, with their gradient."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, k: float, alpha: float) -> Tensor:
        """Compute the normalised maps, with the dtype of `maps`."""
        if not maps.is_contiguous(memory_format=torch.channels_last):
            maps = maps.contiguous()
        ctx.save_for_backward(maps)
        ctx.constants = k, alpha
        normalised = torch.empty_like(maps)
        _launch(_normalise, maps, (maps, normalised), k, alpha)
        return normalised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Compute the gradient with respect to `maps`."""
        (maps,) = ctx.saved_tensors
        given = gradients[0].contiguous(memory_format=_format(maps))
        gradient = torch.empty_like(maps)
        _launch(_gradient, maps, (maps, given, gradient), *ctx.constants)
        return gradient, None, None


def _format(maps: Tensor) -> torch.memory_format:
    return torch.contiguous_format if maps.is_contiguous() else torch.channels_last


def _launch(kernel: Any, maps: Tensor, tensors: tuple[Tensor, ...], k: float, alpha: float) -> None:
    step = maps[0, 0].numel() if maps.is_contiguous() else 1  # memory distance of adjacent kernels
    grid = (triton.cdiv(maps.numel(), BLOCK),)
    with torch.cuda.device_of(maps):
        kernel[grid](*tensors, maps.numel(), maps.shape[1], step, k, alpha, BLOCK)


@triton.jit
def _read(values, at, kernel, distance, count, kernels, step):
    """Read the values of the kernels `kernel + distance`; 0 if there is no such kernel."""
    exists = (at < count) & (kernel + distance >= 0) & (kernel + distance < kernels)
    return tl.load(values + at + distance * step, mask=exists, other=0.0).to(tl.float32)


@triton.jit
def _inverse_root(maps, at, kernel, distance, count, kernels, step, k, alpha):
    """Compute (k + alpha * sum) ^ -1/2 of the kernels `kernel + distance`."""
    squares = tl.zeros_like(at).to(tl.float32)
    for offset in tl.static_range(-2, 3):
        value = _read(maps, at, kernel, distance + offset, count, kernels, step)
        squares += value * value
    return tl.rsqrt(k + alpha * squares)


@triton.jit
def _normalise(maps, out, count, kernels, step, k, alpha, BLOCK: tl.constexpr):
    """Compute a_i * s_i^(-3/4), with s_i = k + alpha * sum."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    kernel = at // step % kernels
    root = _inverse_root(maps, at, kernel, 0, count, kernels, step, k, alpha)
    value = _read(maps, at, kernel, 0, count, kernels, step) * root * tl.sqrt(root)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=at < count)


@triton.jit
def _gradient(maps, given, out, count, kernels, step, k, alpha, BLOCK: tl.constexpr):
    """Compute g_i * s_i^(-3/4) - 2 * 3/4 * alpha * a_i * sum g_j a_j s_j^(-7/4)."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    kernel = at // step % kernels
    direct = tl.zeros_like(at).to(tl.float32)
    through_sums = tl.zeros_like(at).to(tl.float32)
    for distance in tl.static_range(-2, 3):
        root = _inverse_root(maps, at, kernel, distance, count, kernels, step, k, alpha)
        scaled = _read(given, at, kernel, distance, count, kernels, step) * root * tl.sqrt(root)
        if distance == 0:
            direct = scaled
        value = _read(maps, at, kernel, distance, count, kernels, step)
        through_sums += scaled * value * root * root
    value = _read(maps, at, kernel, 0, count, kernels, step)
    gradient = direct - 1.5 * alpha * value * through_sums
    tl.store(out + at, gradient.to(out.dtype.element_ty), mask=at < count)
