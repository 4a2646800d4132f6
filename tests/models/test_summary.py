import pytest
import torch
from torch import nn

from alexlab.models.alexnet import AlexNet
from alexlab.models.alexnet_torchvision import AlexNetTorchvision
from alexlab.models.small_cnn import SmallCNN
from alexlab.models.summary import summarize


def test_published_neurons_and_multiply_adds_of_alexnet():
    with torch.device("meta"):
        net = AlexNet(1000, resolution=224)
    found = summarize(net, in_channels=3, resolution=224)
    # section 3.5, with 55x55 maps: 290400-186624-64896-64896-43264-4096-4096-1000 ("650K")
    assert [row.neurons for row in found.rows if row.neurons] == [
        *(290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000)
    ]
    assert found.neurons == 659_272
    assert found.weight_layers == 8
    # outputs x (kernel size x maps seen): conv2, conv4 and conv5 see half of the maps
    assert found.macs == (
        290_400 * 363 + 186_624 * 1200 + 64_896 * 2304 + 64_896 * 1728 + 43_264 * 1728
        + 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    )  # fmt: skip


def test_headline():
    with torch.device("meta"):
        net = AlexNet(5, groups=1, head=[1024])
        theirs = AlexNetTorchvision(5)
    # 34,944 + 614,656 + 885,120 + 1,327,488 + 884,992 + 263,168 + 5,125 = 4,015,493 parameters;
    # 21,600 + 12,544 + 3,456 + 3,456 + 2,304 + 1,024 + 5 = 44,389 neurons
    assert summarize(net, in_channels=3, resolution=64).headline() == (
        "AlexNet 4.0M parameters, 44K neurons, 7 weight layers, "
        "feature maps 15-7-7-3-3-3-3-1, 1x1x256 -> fc 1024, stem imagenet, "
        "pool before head adaptive"
    )
    assert (
        summarize(theirs, in_channels=3, resolution=64)
        .headline()
        .endswith(
            "1x1x256 -> 9216 inputs -> fc 4096, 1x1 maps enlarged to 6x6, as torchvision does"
        )
    )


def test_summary_changes_nothing():
    net = SmallCNN(5)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    random = torch.get_rng_state()
    summarize(net, in_channels=3, resolution=64)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_rows_of_a_net_that_calls_a_layer_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.fc = nn.Linear(3 * 4 * 4, 2)
            self.fc.weight.requires_grad_(False)

        def forward(self, images):
            return self.fc(self.conv(self.conv(images)).flatten(1))

    found = summarize(Twice(), in_channels=3, resolution=4)
    assert [(r.name, r.kind, r.output_shape, r.params, r.neurons, r.macs) for r in found.rows] == [
        ("conv", "Conv2d", (3, 4, 4), 84, 48, 48 * 27),
        ("conv", "Conv2d", (3, 4, 4), 0, 48, 48 * 27),
        ("fc", "Linear", (2,), 98, 2, 96),
    ]
    assert (found.params, found.trainable) == (182, 86)
    assert "182 parameters (86 trained)" in found.headline()


def test_a_net_without_feature_maps():
    class Perceptron(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3 * 16 * 16, 5)

        def forward(self, images):
            return self.layer(images.flatten(1))

    summary = summarize(Perceptron(), in_channels=3, resolution=16)
    assert summary.headline() == "Perceptron 4K parameters, 5 neurons, 1 weight layers"
    assert (summary.last_map, summary.junction) == ((), "")


def test_receptive_fields_of_alexnet_are_the_published_ones():
    """Araujo, Norris and Sim 2019, "Computing receptive fields": 195 pixels, stride 32, at the end.

    The others by their formula, field + (size - 1) * stride, from 11 pixels at stride 4 on.
    """
    with torch.device("meta"):
        net = AlexNet(1000, resolution=224)
    rows = summarize(net, in_channels=3, resolution=224).rows
    assert [row.field for row in rows if row.step] == [
        *[(11, 4), (19, 8)],  # conv1, pool1
        *[(51, 8), (67, 16)],  # conv2, pool2
        *[(99, 16), (131, 16), (163, 16), (195, 32)],  # conv3, conv4, conv5, pool5
    ]


def test_a_summary_leaves_the_modes_of_a_net_as_they_were():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    net.train()
    net[1].eval()  # frozen
    summarize(net, in_channels=3, resolution=8)
    assert [layer.training for layer in (net, *net)] == [True, True, False, True]
    with pytest.raises(RuntimeError):
        summarize(net, in_channels=3, resolution=2)  # smaller than the kernel
    assert [layer.training for layer in (net, *net)] == [True, True, False, True]
