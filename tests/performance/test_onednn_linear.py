"""The faster product is the same layer: outputs and gradients of PyTorch's own in float64."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from alexlab.performance.onednn_linear import WideLinear, use_onednn


def layers() -> tuple[nn.Linear, nn.Linear]:
    """A dense layer, and the same one in float64."""
    torch.manual_seed(0)
    exact = nn.Linear(2048, 1024).double()
    layer = copy.deepcopy(exact).float()
    use_onednn(layer)
    assert type(layer) is WideLinear
    return layer, exact


def differentiated(layer: nn.Linear, features: Tensor, pull: Tensor) -> dict[str, Tensor]:
    """Outputs, and the gradients of (outputs * pull).sum()."""
    features = features.clone().requires_grad_()
    outputs = layer(features)
    (outputs * pull).sum().backward()
    assert features.grad is not None
    found = {"outputs": outputs.detach(), "features": features.grad}
    return found | {k: p.grad for k, p in layer.named_parameters() if p.grad is not None}


def differences(layer: nn.Linear, exact: nn.Linear, batch: int) -> dict[str, float]:
    """The largest error of each, relative to the largest value of it."""
    torch.manual_seed(1)
    features, pull = torch.randn(batch, 2048), torch.randn(batch, 1024)
    got = differentiated(layer, features, pull)
    true = differentiated(exact, features.double(), pull.double())
    assert got.keys() == true.keys()
    assert all(got[name].shape == true[name].shape for name in true)
    return {n: float((got[n] - true[n]).abs().max() / true[n].abs().max()) for n in true}


@pytest.mark.parametrize("batch", [1, 2, 16, 33])
def test_outputs_and_gradients(batch: int) -> None:
    found = differences(*layers(), batch)
    assert found.keys() == {"outputs", "features", "weight", "bias"}
    assert max(found.values()) < 1e-5  # float32 has 24 bits


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16, torch.float64])
def test_other_precisions_stay_pytorchs(weights: torch.dtype) -> None:
    """oneDNN has bfloat16 on some processors only, and PyTorch knows on which."""
    layer, _ = layers()
    plain = nn.Linear(2048, 1024).to(weights)
    plain.load_state_dict(layer.to(weights).state_dict())
    features = torch.randn(16, 2048, dtype=weights)
    with torch.autocast("cpu", torch.bfloat16, enabled=weights == torch.float32):
        assert torch.equal(layer(features), plain(features))


def test_its_outputs_may_be_overwritten() -> None:
    layer, exact = layers()
    features = torch.randn(4, 2048)
    outputs = nn.Sequential(layer, nn.ReLU(inplace=True))(features)
    outputs.sum().backward()
    assert torch.allclose(outputs.double(), exact(features.double()).relu(), atol=1e-4)


def test_frozen_parts_get_no_gradient() -> None:
    layer, _ = layers()
    layer.weight.requires_grad_(False)
    features = torch.randn(4, 2048, requires_grad=True)
    layer(features).sum().backward()
    assert layer.weight.grad is None
    assert torch.allclose(features.grad, layer.weight.sum(0).expand(4, -1), atol=1e-4)


def test_only_wide_linear_layers_change_and_the_state_dict_does_not() -> None:
    narrow = nn.Linear(16, 8)
    without_bias = nn.Linear(1024, 1024, bias=False)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(1024, 1024), narrow, without_bias)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    use_onednn(net)
    assert [type(layer) for layer in net] == [nn.Conv2d, WideLinear, nn.Linear, nn.Linear]
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.state_dict().keys() == before.keys()


def test_columns_of_a_wider_tensor() -> None:
    """Features that do not lie in one piece, as those of a layer before it."""
    layer, exact = layers()
    features = torch.randn(2048, 16).t()
    found = layer(features.requires_grad_())
    assert torch.allclose(found.double(), exact(features.double()), atol=1e-4)


def changed_op(*args: object) -> Tensor:
    raise RuntimeError("mkldnn::_linear_pointwise() expected at most 5 argument(s)")


@pytest.mark.parametrize("namespace", [{}, {"_linear_pointwise": changed_op}])
def test_a_pytorch_without_the_private_operation_keeps_its_own_layer(
    monkeypatch: pytest.MonkeyPatch, namespace: dict[str, object]
) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(**namespace))
    layer = nn.Linear(2048, 1024)
    use_onednn(layer)
    assert type(layer) is nn.Linear
    layer(torch.randn(4, 2048)).sum().backward()
    assert layer.weight.grad is not None
