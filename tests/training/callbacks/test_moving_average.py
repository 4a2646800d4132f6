"""The moving average of the weights: its values, its device, and no waiting for a GPU."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from alexlab.training.callbacks.moving_average import DeviceAverage, MovingAverage


def trainer(device):
    strategy = SimpleNamespace(root_device=torch.device(device))
    return SimpleNamespace(strategy=strategy, global_step=0)


def test_values_by_hand():
    """Weight 1 after the first step, 2 and 6 after the next ones; decay 0.8."""
    net, average = nn.Linear(1, 1, bias=False), MovingAverage(decay=0.8)
    average.setup(run := trainer("cpu"), net, "fit")
    expected = [1.0, 0.8 * 1 + 0.2 * 2, 0.8 * 1.2 + 0.2 * 6]
    for step, (weight, mean) in enumerate(zip([1.0, 2.0, 6.0], expected, strict=True), 1):
        nn.init.constant_(net.weight, weight)
        run.global_step = step
        average.on_train_batch_end(run, net, None, None, step - 1)
        assert average._average_model.module.weight.item() == pytest.approx(mean)
    assert int(average._average_model.n_averaged) == 3


def test_the_average_is_on_the_device_of_the_trainer():
    """Lightning moves the net there only later."""
    average = MovingAverage(decay=0.9)
    average.setup(trainer("meta"), nn.BatchNorm1d(3), "fit")
    module = average._average_model.module
    assert {t.device.type for t in (*module.parameters(), *module.buffers())} == {"meta"}


def test_the_average_is_torchs_to_the_bit():
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    ours = DeviceAverage(net, 0.97)
    torchs = AveragedModel(net, avg_fn=get_ema_avg_fn(0.97), use_buffers=True)
    resumed = None
    for step in range(6):
        with torch.no_grad():
            for p in net.parameters():
                p.add_(torch.randn_like(p))
        net(torch.randn(8, 5))  # moves the buffers
        for average in filter(None, (ours, torchs, resumed)):
            average.update_parameters(net)
        if step == 2:
            resumed = DeviceAverage(net, 0.97)
            resumed.load_state_dict(ours.state_dict())
    for name, value in torchs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
        assert torch.equal(resumed.state_dict()[name], value), name


class Operations(TorchDispatchMode):
    """While entered, note the name of each operation: on a GPU, a kernel or a few."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layers", [1, 20])
def test_an_update_takes_four_operations_for_any_number_of_layers(layers):
    """Multiply twice and add, for all tensors together, and count the update; nothing is read."""
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(layers)))
    average = DeviceAverage(net, 0.9)
    average.update_parameters(net)
    with Operations() as operations:
        average.update_parameters(net)
    assert operations.names == ["_foreach_mul_", "_foreach_mul", "_foreach_add_", "add_"]
