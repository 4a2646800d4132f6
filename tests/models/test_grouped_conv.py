import pytest
import torch
from torch import nn

from alexlab.models.grouped_conv import GroupedConv2d


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [2, 3])
def test_one_group_at_a_time_is_torchs_grouped_convolution(groups, bias):
    torch.manual_seed(0)
    ours = GroupedConv2d(6, 12, 5, 2, 2, 1, groups, bias=bias).double()
    theirs = nn.Conv2d(6, 12, 5, 2, 2, 1, groups, bias=bias).double()
    theirs.load_state_dict(ours.state_dict())
    maps = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    found, expected = ours.by_group(maps), theirs(maps)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, theirs.get_parameter(name).grad, rtol=1e-10, atol=1e-10
        )


def test_on_a_cpu_it_is_torchs_own():
    torch.manual_seed(0)
    ours = GroupedConv2d(4, 4, 3, groups=2)
    maps = torch.randn(1, 4, 5, 5)
    assert ours(maps).equal(nn.functional.conv2d(maps, ours.weight, ours.bias, groups=2))
