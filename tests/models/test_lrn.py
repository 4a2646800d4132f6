import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from alexlab.models import lrn
from alexlab.models.lrn import LocalResponseNorm


def formula(a):
    """The sum of Krizhevsky et al. 2012, section 3.3, kernel by kernel."""
    k, n, alpha, beta = 2, 5, 1e-4, 0.75
    last = a.shape[1] - 1
    windows = [a[:, max(0, i - n // 2) : min(last, i + n // 2) + 1] for i in range(last + 1)]
    sums = torch.stack([window.square().sum(1) for window in windows], 1)
    return a / (k + alpha * sums) ** beta


@pytest.mark.parametrize("training", [True, False])
def test_lrn_is_the_papers_formula(training):
    maps = (100 * torch.randn(1, 9, 2, 2)).requires_grad_(training)
    torch.testing.assert_close(LocalResponseNorm()(maps), formula(maps))


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


TRITON = """
import sys
import torch
from alexlab.models.lrn import ALPHA, K
from alexlab.models.lrn_triton import Normalise

cases = torch.load(sys.argv[1])
for case in cases:
    maps = case["maps"].requires_grad_()
    case["normalised"] = Normalise.apply(maps, K, ALPHA)
    (case["gradient"],) = torch.autograd.grad(case["normalised"], maps, case["given"])
torch.save([{k: v.detach() for k, v in case.items()} for case in cases], sys.argv[1])
"""


def test_the_kernels_for_a_gpu_are_the_papers_formula(tmp_path):
    """Triton's interpreter runs them on the CPU. Kernels from 1 to more than a block's values."""
    pytest.importorskip("triton")
    layouts = torch.contiguous_format, torch.channels_last
    shapes = (2, 1, 3, 4), (1, 3, 5, 5), (2, 96, 4, 5), (1, 7, 1, 1), (1, 1300, 2, 1)
    cases = []
    for shape in shapes:
        for layout in layouts:
            maps = (50 * torch.randn(shape)).to(memory_format=layout)
            cases.append({"maps": maps, "given": torch.randn(shape)})
    cases.append({"maps": cases[1]["maps"].bfloat16(), "given": cases[1]["given"].bfloat16()})
    cases.append({"maps": torch.randn(4, 3, 6, 5)[:, :, ::2], "given": torch.randn(4, 3, 3, 5)})
    torch.save(cases, tmp_path / "cases.pt")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", TRITON, str(tmp_path / "cases.pt")]
    subprocess.run(command, env=environment, check=True)
    for case in torch.load(tmp_path / "cases.pt"):
        maps = case["maps"].double().requires_grad_()
        expected = formula(maps)
        (gradient,) = torch.autograd.grad(expected, maps, case["given"].double())
        close = {"rtol": 1e-5, "atol": 1e-5}
        if case["maps"].dtype == torch.bfloat16:
            assert case["normalised"].dtype == case["gradient"].dtype == torch.bfloat16
            close = {"rtol": 2**-7, "atol": 1e-5}  # the interpreter cuts off, a GPU rounds
        torch.testing.assert_close(case["normalised"].double(), expected.detach(), **close)
        torch.testing.assert_close(case["gradient"].double(), gradient, **close)
        dense = any(case["maps"].is_contiguous(memory_format=layout) for layout in layouts)
        strides = case["maps"].stride() if dense else case["maps"].contiguous().stride()
        assert case["normalised"].stride() == case["gradient"].stride() == strides


def test_a_gpu_uses_the_kernels_and_a_cpu_does_not(monkeypatch):
    assert not lrn._for_triton(torch.ones(1, 1, 1, 1))
    called = []

    class Normalise:
        @staticmethod
        def apply(maps, k, alpha):
            called.append((k, alpha))
            return formula(maps)

    maps = torch.randn(2, 6, 3, 3)
    monkeypatch.setattr(lrn, "_for_triton", lambda maps: True)
    monkeypatch.setattr(lrn, "_triton", lambda: Normalise)
    torch.testing.assert_close(LocalResponseNorm()(maps), formula(maps))
    assert called == [(2.0, 1e-4)]
    monkeypatch.setattr(lrn, "_triton", lambda: None)  # no compiler
    torch.testing.assert_close(LocalResponseNorm()(maps), formula(maps))
    assert len(called) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_compiler_a_warning_says_what_is_slow():
    with pytest.warns(UserWarning, match="norm=lrn uses many small GPU kernels"):
        assert lrn._triton.__wrapped__() is None
