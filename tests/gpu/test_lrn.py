"""The normalisation on a GPU is the paper's formula, forward and backward."""

import pytest
import torch

from alexlab.models.lrn import LocalResponseNorm, _triton


def formula(maps):
    """Krizhevsky et al. 2012, section 3.3, with k=2, n=5, alpha=1e-4, beta=0.75, kernel by kernel.

    maps [N, C, H, W] float64.
    """
    kernels = maps.shape[1]
    columns = []
    for i in range(kernels):
        around = maps[:, max(0, i - 2) : min(kernels - 1, i + 2) + 1]
        columns.append(maps[:, i] / (2 + 1e-4 * around.square().sum(1)) ** 0.75)
    return torch.stack(columns, 1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(4, 96, 15, 15), (2, 256, 7, 7), (3, 3, 5, 5), (1, 1, 8, 8)])
def test_it_is_the_formula(shape, layout):
    torch.manual_seed(0)
    exact = 30 * torch.randn(shape, dtype=torch.float64)
    pull = torch.randn(shape, dtype=torch.float64)
    exact.requires_grad_()
    expected = formula(exact)
    (expected * pull).sum().backward()
    maps = exact.detach().float().cuda().to(memory_format=layout).requires_grad_()
    found = LocalResponseNorm()(maps)
    (found * pull.float().cuda()).sum().backward()
    for ours, true in ((found, expected), (maps.grad, exact.grad)):
        assert ours.dtype == torch.float32
        assert (ours.double().cpu() - true).abs().max() <= 1e-5 * true.abs().max()
    with torch.no_grad():
        assert torch.allclose(LocalResponseNorm()(maps), found, rtol=1e-5, atol=1e-6)


def test_the_fused_kernels_can_be_used_here():
    assert _triton() is not None


def test_half_precision_is_rounded_once():
    """bfloat16 has 8 bits: its rounding is at most 1/256 of a value, after sums in float32."""
    torch.manual_seed(0)
    maps = (30 * torch.randn(2, 96, 15, 15)).bfloat16()
    expected = formula(maps.double())
    found = LocalResponseNorm()(maps.cuda())
    assert found.dtype == torch.bfloat16
    assert ((found.double().cpu() - expected).abs() <= expected.abs() / 250).all()
