"""The small CNN, and the nets of the articles on scores and on small grey images."""

import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from alexlab.models.keras import SameConv2d, same_pool
from alexlab.models.naive_cnn import NaiveCNN
from alexlab.models.score_alexnet import ScoreAlexNet
from alexlab.models.score_cnn import ScoreCNN
from alexlab.models.small_cnn import SmallCNN
from alexlab.models.summary import summarize


def test_small_cnn_has_the_parameters_of_its_five_stages():
    """Weights of 3x3 convolutions without biases, two numbers per map of BatchNorm, one layer."""
    stages = 9 * (3 * 16 + 16 * 32 + 32 * 64 + 64 * 96 + 96 * 128) + 2 * (16 + 32 + 64 + 96 + 128)
    assert sum(p.numel() for p in SmallCNN(5).parameters()) == stages + 128 * 5 + 5


def test_small_cnn_memorises_twelve_images():
    torch.manual_seed(0)
    targets = torch.arange(12) % 3
    images = 0.5 * torch.randn(12, 3, 32, 32)
    images[torch.arange(12), targets] += 1.0  # the dominant colour is the class
    net = SmallCNN(3, resolution=32)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), targets).backward()
        optimizer.step()
    net.eval()
    assert torch.equal(net(images).argmax(1), targets)


@pytest.mark.parametrize(
    ("net_class", "resolution", "channels", "outputs", "params", "sizes"),
    [
        (ScoreCNN, 128, 3, 1, 53_879_697, (124, 62, 58, 29)),
        (ScoreAlexNet, 128, 3, 1, 43_767_121, (32, 16, 16, 8, 8, 8, 8, 4)),
        (NaiveCNN, 100, 1, 3, 19_226_379, (100, 100, 50)),
    ],
)
def test_articles_nets(net_class, resolution, channels, outputs, params, sizes):
    with torch.device("meta"):
        net = net_class(outputs, in_channels=channels, resolution=resolution)
    found = summarize(net, in_channels=channels, resolution=resolution)
    assert (found.params, found.map_sizes) == (params, sizes)


@pytest.mark.parametrize(
    ("net_class", "option", "rates"),
    [
        (NaiveCNN, "naive_cnn", [0.25, 0.4]),  # the pretraining article, behind 120 and 60 neurons
        (
            ScoreCNN,
            "score_cnn",
            [0.15, 0.15, 0.4],
        ),  # the regression article, behind each layer but the last
        (ScoreAlexNet, "score_alexnet", [0.4, 0.4, 0.4]),  # the regression article, dense layers
    ],
)
def test_the_default_dropout_is_the_articles(net_class, option, rates, compose):
    with torch.device("meta"):
        default = net_class(1)
        shipped = instantiate(compose(f"model={option}").model, num_outputs=1, _convert_="all")
    for net in (default, shipped):
        assert [layer.p for layer in net.modules() if isinstance(layer, nn.Dropout)] == rates


@pytest.mark.parametrize(("stride", "side"), [(4, 4), (2, 8), (1, 16)])
def test_a_smaller_stride_leaves_a_larger_last_map(stride, side):
    with torch.device("meta"):
        net = ScoreAlexNet(1, stride=stride)
    assert summarize(net, in_channels=3, resolution=128).last_map == (256, side, side)


def test_same_padding_is_larger_on_the_right_and_below():
    conv = SameConv2d(1, 1, 3, stride=2, bias=False)
    conv.weight.data.fill_(1.0)
    # side 4, kernel 3, stride 2: one pixel of padding, so windows {0,1,2} and {2,3,padding}
    expected = torch.tensor([[[[9.0, 6.0], [6.0, 4.0]]]])
    assert torch.equal(conv(torch.ones(1, 1, 4, 4)), expected)


def test_same_padding_of_the_first_layer():
    conv = SameConv2d(1, 1, 11, stride=4, bias=False)
    conv.weight.data.fill_(1.0)
    # 128 pixels -> 32 windows over 31 * 4 + 11 = 135: 3 zeros on the left, 4 on the right
    rows = conv(torch.ones(1, 1, 128, 128))[0, 0].sqrt()
    assert rows.shape == (32, 32)
    assert rows.diagonal()[[0, 1, -2, -1]].tolist() == [8.0, 11.0, 11.0, 7.0]


def test_same_pooling_ignores_its_padding():
    maps = torch.tensor([[[[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0], [-7.0, -8.0, -9.0]]]])
    assert same_pool()(maps).tolist() == [[[[-1.0, -3.0], [-7.0, -9.0]]]]


def test_weights_start_as_in_keras():
    net = NaiveCNN(3, resolution=20)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            area = math.prod(layer.weight.shape[2:])
            limit = math.sqrt(6 / (area * (layer.weight.shape[0] + layer.weight.shape[1])))
            assert 0.95 * limit < layer.weight.abs().max() <= limit
            assert not layer.bias.any()


@pytest.mark.parametrize(
    ("arguments", "features", "fc"),
    [
        ({}, [("Dropout", 0.15)] * 2, 0.4),
        ({"dropout_kind": "channel"}, [("Dropout2d", 0.15)] * 2, 0.4),
        ({"dropout_at": "fc"}, [("Dropout", 0.0)] * 2, 0.4),
        ({"dropout_at": "none"}, [("Dropout", 0.0)] * 2, 0.0),
    ],
)
def test_dropout_of_the_score_cnn(arguments, features, fc):
    net = ScoreCNN(1, resolution=16, **arguments)
    drops = (nn.Dropout, nn.Dropout2d)
    found = [(type(m).__name__, m.p) for m in net.features if isinstance(m, drops)]
    assert found == features
    assert [m.p for m in net.classifier if isinstance(m, nn.Dropout)] == [fc]


@pytest.mark.parametrize(
    ("net_class", "resolution"),
    [(SmallCNN, 32), (ScoreCNN, 16), (ScoreAlexNet, 16), (NaiveCNN, 8)],
)
def test_a_gradient_reaches_every_parameter(net_class, resolution):
    torch.manual_seed(0)
    net = net_class(2, in_channels=3, resolution=resolution)
    outputs = net(torch.randn(8, 3, resolution, resolution))
    nn.functional.cross_entropy(outputs, torch.arange(8) % 2).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ("net_class", "smallest"), [(SmallCNN, 32), (ScoreCNN, 16), (NaiveCNN, 2), (ScoreAlexNet, 1)]
)
def test_smallest_resolution(net_class, smallest):
    with torch.device("meta"):
        net_class(2, resolution=smallest)
        with pytest.raises(ValueError, match=f"={smallest - 1} .* that works is {smallest}$"):
            net_class(2, resolution=smallest - 1)


CONF = {p.stem: p for p in sorted(Path(__file__).parents[2].glob("conf/model/*.yaml"))}
RESOLUTION = {"naive_cnn": 100, "score_cnn": 128, "score_alexnet": 128, "pretrained": 96}


@pytest.mark.parametrize("name", CONF)
def test_every_option_builds_its_net(name):
    config = OmegaConf.create(
        {"act": "tanh", "data_dir": "data", "model": OmegaConf.load(CONF[name])}
    )
    if name == "pretrained":
        config.model.weights = "none"
    resolution = RESOLUTION.get(name, 64)
    with torch.device("meta"):
        net = instantiate(config.model, num_outputs=7, in_channels=3, resolution=resolution)
    assert net(torch.empty(2, 3, resolution, resolution, device="meta")).shape == (2, 7)
    assert any(isinstance(layer, nn.Tanh) for layer in net.modules()) == (name != "pretrained")
