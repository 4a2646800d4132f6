import pytest
import torch
from torch import nn

from alexlab.models.lrn import LocalResponseNorm


@pytest.mark.parametrize("training", [True, False])
def test_lrn_is_the_papers_formula(training):
    k, n, alpha, beta = 2, 5, 1e-4, 0.75
    a = (100 * torch.randn(1, 9, 2, 2)).requires_grad_(training)
    expected = torch.empty(1, 9, 2, 2)
    for i in range(9):
        window = a[:, max(0, i - n // 2) : min(8, i + n // 2) + 1]
        expected[:, i] = a[:, i] / (k + alpha * window.square().sum(1)) ** beta
    torch.testing.assert_close(LocalResponseNorm()(a), expected)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("kernels", [1, 3, 96])
def test_lrn_and_its_gradient_are_torchs(kernels, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    maps = (50 * torch.randn(2, kernels, 4, 5)).to(memory_format=layout).requires_grad_()
    theirs = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)(maps)
    ours = LocalResponseNorm()(maps)
    weights = torch.randn_like(theirs)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad((ours * weights).sum(), maps)[0],
        torch.autograd.grad((theirs * weights).sum(), maps)[0],
    )
    assert ours.is_contiguous(memory_format=layout)


def test_lrn_keeps_the_type_and_computes_in_float32():
    maps = (50 * torch.randn(2, 8, 3, 3)).bfloat16().requires_grad_()
    exact = LocalResponseNorm()(maps.detach().float())
    for found in (LocalResponseNorm()(maps), LocalResponseNorm()(maps.detach())):
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, exact.bfloat16())  # rounded once
    LocalResponseNorm()(maps).sum().backward()
    assert maps.grad.dtype == torch.bfloat16
