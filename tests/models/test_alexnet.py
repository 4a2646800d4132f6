from functools import partial

import pytest
import torch
import torchvision
from hydra.utils import instantiate
from torch import nn

from alexlab.models.activations import ACTIVATIONS, activation
from alexlab.models.alexnet import AlexNet
from alexlab.models.alexnet_torchvision import AlexNetTorchvision
from alexlab.models.blocks import AveragePool, Stages, average_pool
from alexlab.models.lrn import LocalResponseNorm
from alexlab.models.summary import summarize


def shapes_only(resolution=64, num_outputs=5, **arguments):
    with torch.device("meta"):
        return AlexNet(num_outputs, resolution=resolution, **arguments)


def shipped(compose, name="alexnet"):
    with torch.device("meta"):
        return instantiate(compose(f"model={name}").model, num_outputs=5, _convert_="all")


def count(net):
    return sum(p.numel() for p in net.parameters())


def kinds(net, kind):
    return [name for name, layer in net.named_modules() if isinstance(layer, kind)]


def map_sizes(net, resolution):
    return summarize(net, in_channels=3, resolution=resolution).map_sizes


def small(**arguments):
    return AlexNet(5, **{"width": 0.1, "head": [16, 16], **arguments})


@pytest.mark.parametrize("resolution", [224, 227])
def test_two_towers_have_the_published_number_of_parameters(resolution):
    assert count(shapes_only(resolution, 1000)) == 60_965_224


def test_one_tower_has_the_published_number_of_parameters():
    assert count(shapes_only(224, 1000, groups=1)) == 62_378_344


def test_torchvisions_form_has_its_number_of_parameters():
    with torch.device("meta"):
        assert count(AlexNetTorchvision(1000, resolution=224)) == 61_100_840
        assert count(AlexNetTorchvision(5)) == 57_024_325


def test_torchvisions_form_gives_torchvisions_logits():
    theirs = torchvision.models.alexnet(weights=None).eval()
    with torch.device("meta"):
        ours = AlexNetTorchvision(1000).eval()
    ours.load_state_dict(theirs.state_dict(), assign=True)
    for resolution in (64, 256):  # maps of 1x1 enlarged to 6x6, and of 7x7 averaged
        images = torch.randn(1, 3, resolution, resolution)
        with torch.no_grad():
            assert torch.equal(ours(images), theirs(images))
    with torch.device("meta"):
        ours = AlexNetTorchvision(1000, resolution=224).eval()
    ours.load_state_dict(theirs.state_dict(), assign=True)
    assert not getattr(ours, "notes", ())  # nothing is enlarged
    images = torch.randn(1, 3, 224, 224)  # maps of 6x6
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize(
    ("resolution", "sizes"),
    [
        # (224 + 4 - 11) / 4 + 1 = 55; (55 - 3) / 2 + 1 = 27; 13; 6, rounded down each time
        (224, (55, 27, 27, 13, 13, 13, 13, 6)),
        (128, (31, 15, 15, 7, 7, 7, 7, 3)),
        (64, (15, 7, 7, 3, 3, 3, 3, 1)),
        (63, (15, 7, 7, 3, 3, 3, 3, 1)),
        # stem half: (62 + 2 - 5) / 2 + 1 = 30, (32 + 2 - 5) / 2 + 1 = 15
        (62, (30, 14, 14, 6, 6, 6, 6, 2)),
        (32, (15, 7, 7, 3, 3, 3, 3, 1)),
        (31, (15, 7, 7, 3, 3, 3, 3, 1)),
        # stem cifar: 30 + 4 - 5 + 1 = 30
        (30, (30, 14, 14, 6, 6, 6, 6, 2)),
        (15, (15, 7, 7, 3, 3, 3, 3, 1)),
    ],
)
def test_map_sizes(resolution, sizes):
    assert map_sizes(shapes_only(resolution), resolution) == sizes


@pytest.mark.parametrize(
    ("stem", "size", "stride", "smallest"),
    [("imagenet", 11, 4, 63), ("half", 5, 2, 31), ("cifar", 5, 1, 15)],
)
def test_stem_and_the_smallest_resolution_it_takes(stem, size, stride, smallest):
    net = shapes_only(smallest, stem=stem)
    assert (net.features.conv1.kernel_size[0], net.features.conv1.stride[0]) == (size, stride)
    assert f"stem {stem}" in net.notes
    with pytest.raises(ValueError, match=f"resolution={smallest - 1} .* that works is {smallest}$"):
        shapes_only(smallest - 1, stem=stem)


@pytest.mark.parametrize(
    ("resolution", "stem"),
    [(15, "cifar"), (30, "cifar"), (31, "half"), (62, "half"), (63, "imagenet"), (128, "imagenet")],
)
def test_automatic_stem_follows_the_resolution(resolution, stem):
    assert f"stem {stem}" in shapes_only(resolution).notes


def test_torchvisions_form_names_the_smallest_resolution():
    with pytest.raises(ValueError, match=r"resolution=32 .* that works is 63$"):
        AlexNetTorchvision(5, resolution=32)


@pytest.mark.parametrize("pool", ["max", "avg", "conv1x1", "strided"])
@pytest.mark.parametrize(
    ("resolution", "overlap", "side"),
    # first maps of 15, 24, 31 and 55; windows of 3 lose the last pixel of an even side
    [(64, True, 1), (100, True, 2), (100, False, 3), (128, False, 3), (224, True, 6)],
)
def test_every_pooling_leaves_a_map_of_the_same_size(pool, resolution, overlap, side):
    net = shapes_only(resolution, pool=pool, overlap=overlap)
    assert map_sizes(net, resolution)[-1] == side


@pytest.mark.parametrize(("overlap", "window"), [(True, 3), (False, 2)])
@pytest.mark.parametrize(("pool", "kind"), [("max", nn.MaxPool2d), ("avg", nn.AvgPool2d)])
def test_pooling_windows(pool, kind, overlap, window):
    net = small(pool=pool, overlap=overlap)
    assert kinds(net, kind) == ["features.pool1", "features.pool2", "features.pool5"]
    assert net.features.pool1.kernel_size == window
    assert net.features.pool1.stride == 2


@pytest.mark.parametrize(("overlap", "last"), [(True, 5), (False, 6)])
@pytest.mark.parametrize("side", [7, 8])
def test_conv1x1_samples_every_second_pixel(overlap, last, side):
    pool = Stages(act=nn.ReLU, pool="conv1x1", overlap=overlap).stage(3, 4, 3, pooled=True)["pool"]
    pool[1].weight.data = torch.eye(4).view(4, 4, 1, 1)
    pool[1].bias.data.zero_()
    maps = torch.randn(1, 4, side, side)
    # windows of 3 with stride 2 have their middle at 1, 3, 5; of 2 with stride 2 at 1, 3, 5, (7)
    end = side - 1 if overlap else side
    torch.testing.assert_close(pool(maps), maps[:, :, 1:end:2, 1:end:2])


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize(("stride", "padding"), [(1, 2), (4, 2), (1, 0)])
def test_strided_is_the_same_convolution_at_every_second_place(overlap, stride, padding):
    stages = Stages(act=nn.Identity, pool="strided", overlap=overlap)
    layers = stages.stage(3, 4, 5, stride=stride, padding=padding, pooled=True)
    maps = torch.randn(1, 3, 40, 40)
    conv = layers["conv"]
    dense = nn.functional.conv2d(maps, conv.weight, conv.bias, stride, padding)
    end = dense.shape[-1] - 1 if overlap else dense.shape[-1]
    expected = dense[:, :, 1:end:2, 1:end:2]
    torch.testing.assert_close(conv(layers["pad"](maps)), expected)
    assert "pool" not in layers


def test_norm_none_lrn_batch():
    assert kinds(small(norm="lrn"), LocalResponseNorm) == ["features.norm1", "features.norm2"]
    assert not kinds(small(norm="none"), (LocalResponseNorm, nn.BatchNorm2d))
    net = small(norm="batch")
    assert kinds(net, nn.BatchNorm2d) == [f"features.norm{i}" for i in range(1, 6)]
    assert all(layer.bias is None for layer in net.modules() if isinstance(layer, nn.Conv2d))
    order = [name for name, _ in net.features.named_children()]
    assert order[:4] == ["conv1", "norm1", "act1", "pool1"]
    order = [name for name, _ in small(norm="lrn").features.named_children()]
    assert order[:4] == ["conv1", "act1", "norm1", "pool1"]


def test_groups_split_convolutions_2_4_and_5():
    groups = [layer.groups for layer in small().modules() if isinstance(layer, nn.Conv2d)]
    assert groups == [1, 2, 1, 2, 2]


def test_width_scales_the_kernels():
    def kernels(width):
        net = shapes_only(width=width)
        return [layer.out_channels for layer in net.modules() if isinstance(layer, nn.Conv2d)]

    assert kernels(1.0) == [96, 256, 384, 384, 256]
    assert kernels(0.5) == [48, 128, 192, 192, 128]
    assert kernels(2.0) == [192, 512, 768, 768, 512]
    with pytest.raises(ValueError, match="width=0"):
        shapes_only(width=0)


def test_head_sets_the_wide_layers():
    net = shapes_only(head=[100, 50, 20])
    linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == [100, 50, 20, 5]
    assert [layer.in_features for layer in linear] == [256, 100, 50, 20]
    assert kinds(shapes_only(head=[]), nn.Linear) == ["classifier.fc6"]


@pytest.mark.parametrize(
    ("resolution", "kind", "inputs"),
    [
        (64, "adaptive", 256),  # 1x1 stays 1x1: never enlarged
        (128, "adaptive", 9 * 256),
        (224, "adaptive", 36 * 256),
        (256, "adaptive", 36 * 256),  # 7x7 averaged down to 6x6
        (256, "none", 49 * 256),
        (256, "gap", 256),
        (64, "gap", 256),
    ],
)
def test_what_meets_the_first_wide_layer(resolution, kind, inputs):
    net = shapes_only(resolution, pool_before_head=kind)
    assert net.classifier.fc6.in_features == inputs
    pooled = resolution == 256 and kind != "none"
    assert (type(net.avgpool) is nn.Identity) == (not pooled)  # deterministic on a GPU
    assert f"pool before head {kind}" in net.notes
    assert net(torch.empty(2, 3, resolution, resolution, device="meta")).shape == (2, 5)


@pytest.mark.parametrize(
    ("before", "after"), [(7, 6), (13, 6), (1, 6), (3, 6), (6, 6), (5, 1), (1, 1)]
)
def test_average_pooling_is_torchs(before, after):
    maps = torch.randn(2, 4, before, before).requires_grad_()
    theirs, pool = nn.AdaptiveAvgPool2d(after), average_pool(before, after)
    weights = torch.randn(2, 4, after, after)
    (expected,) = torch.autograd.grad((theirs(maps) * weights).sum(), maps)
    (gradient,) = torch.autograd.grad((pool(maps) * weights).sum(), maps)
    assert torch.equal(pool(maps), theirs(maps))
    assert torch.equal(gradient, expected)
    assert (type(pool) is nn.Identity) == (before == after)
    assert not pool.state_dict()


@pytest.mark.parametrize(("before", "after"), [(7, 6), (13, 6), (1, 6), (3, 6)])
def test_its_deterministic_form_computes_the_same(before, after):
    maps = torch.randn(2, 4, before, before).requires_grad_()
    theirs, pool = nn.AdaptiveAvgPool2d(after), AveragePool(before, after)
    weights = torch.randn(2, 4, after, after)
    (expected,) = torch.autograd.grad((theirs(maps) * weights).sum(), maps)
    (gradient,) = torch.autograd.grad((pool.as_products(maps) * weights).sum(), maps)
    torch.testing.assert_close(pool.as_products(maps), theirs(maps))
    torch.testing.assert_close(gradient, expected)
    assert pool.as_products(maps.bfloat16()).dtype == torch.bfloat16


def test_other_sizes_are_averaged_as_well():
    maps = torch.randn(1, 2, 9, 9)
    assert torch.equal(AveragePool(7, 6)(maps), nn.AdaptiveAvgPool2d(6)(maps))


def rates(net, kind=nn.Dropout):
    return {n: layer.p for n, layer in net.named_modules() if type(layer) is kind}


def test_dropout_at():
    fc = {"classifier.dropout6": 0.6, "classifier.dropout7": 0.6}
    features = {f"features.dropout{i}": 0.8 for i in (1, 2, 5)}
    arguments = {"dropout": 0.6, "feature_dropout": 0.8}
    assert rates(small(dropout_at="none", **arguments)) == {}
    assert rates(small(dropout_at="fc", **arguments)) == fc
    assert rates(small(dropout_at="features", **arguments)) == features
    assert rates(small(dropout_at="both", **arguments)) == fc | features
    assert set(rates(small(dropout_at="features", dropout=0.3)).values()) == {0.3}


def test_each_layer_of_the_head_may_have_its_own_dropout():
    fc = {"classifier.dropout6": 0.8, "classifier.dropout7": 0.6}
    assert rates(small(dropout=[0.8, 0.6])) == fc
    features = {f"features.dropout{i}": 0.1 for i in (1, 2, 5)}
    net = small(dropout=[0.8, 0.6], dropout_at="both", feature_dropout=0.1)
    assert rates(net) == fc | features
    assert rates(small(dropout=[0.8, 0.6], dropout_at="none")) == {}


@pytest.mark.parametrize("default", [lambda compose: AlexNet(1000), shipped])
def test_the_defaults_are_the_papers(default, compose):
    """Krizhevsky et al. 2012: dropout 0.5 in front of fc6 and fc7 (4.2), 4096 neurons each (3.5).

    Also local response normalisation behind the first two convolutions (3.3), windows of 3 with
    stride 2 (3.4), and two towers (3.5).
    """
    net = default(compose)
    assert rates(net) == {"classifier.dropout6": 0.5, "classifier.dropout7": 0.5}
    assert [net.classifier.fc6.out_features, net.classifier.fc7.out_features] == [4096, 4096]
    assert kinds(net, LocalResponseNorm) == ["features.norm1", "features.norm2"]
    pools = [layer for layer in net.modules() if isinstance(layer, nn.MaxPool2d)]
    assert [(pool.kernel_size, pool.stride) for pool in pools] == [(3, 2)] * 3
    assert net.features.conv2.groups == 2


@pytest.mark.parametrize(
    "default",
    [lambda compose: AlexNetTorchvision(5), partial(shipped, name="alexnet_torchvision")],
)
def test_torchvisions_form_drops_half(default, compose):
    assert list(rates(default(compose)).values()) == [0.5, 0.5]  # torchvision.models.alexnet


def test_channel_dropout_drops_whole_channels():
    net = small(dropout_at="features", dropout_kind="channel")
    maps = net.features.dropout1(torch.ones(4, 8, 5, 5))
    dropped = (maps == 0).flatten(2)
    assert dropped.any()
    assert torch.equal(dropped.any(2), dropped.all(2))
    assert rates(net) == {}


def test_published_initialisation():
    net = AlexNet(5, head=[64, 64], init="paper")
    ones = ["features.conv2", "features.conv4", "features.conv5"]
    ones += ["classifier.fc6", "classifier.fc7"]
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert torch.all(layer.bias == (1.0 if name in ones else 0.0)), name
            assert 0.008 < layer.weight.std() < 0.012, name


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_activation_swap_keeps_the_parameters(act):
    net = small(act=act)
    assert count(net) == count(small())
    assert len([name for name in kinds(net, activation(act)) if ".act" in name]) == 7
    assert len(kinds(net, nn.ReLU)) == (7 if act == "relu" else 0)


@pytest.mark.parametrize(
    "arguments",
    [
        *({"act": act} for act in ACTIVATIONS),
        *({"pool": pool} for pool in ("avg", "conv1x1", "strided")),
        {"norm": "none"},
        {"norm": "batch"},
        {"norm": "batch", "pool": "conv1x1", "resolution": 32},
        {"dropout_at": "both", "dropout": 0.1, "dropout_kind": "channel"},
        {"pool_before_head": "gap", "resolution": 128},
        {"head": []},
        {"groups": 1, "in_channels": 1, "stem": "cifar"},
    ],
    ids=str,
)
def test_a_gradient_reaches_every_parameter(arguments):
    torch.manual_seed(0)
    net = small(**arguments)
    side, channels = arguments.get("resolution", 64), arguments.get("in_channels", 3)
    outputs = net(torch.randn(8, channels, side, side))
    nn.functional.cross_entropy(outputs, torch.arange(8) % 5).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"act": "rleu"}, "act=rleu: unknown; did you mean relu"),
        ({"pool": "man"}, "pool=man: .* max"),
        ({"norm": "bach"}, "norm=bach: .* batch"),
        ({"stem": "imagnet"}, "stem=imagnet: .* imagenet"),
        ({"dropout_at": "head"}, "choose from none, fc, features, both"),
        ({"dropout": [0.5]}, r"dropout=\[0.5\]: .* per layer of head \(there are 2\)"),
        ({"dropout": [0.8, 0.6], "dropout_at": "both"}, "set feature_dropout too"),
        ({"dropout_kind": "pixel"}, "choose from element, channel"),
        ({"pool_before_head": "adaptiv"}, "did you mean adaptive"),
        ({"init": "papper"}, "did you mean paper"),
    ],
)
def test_unknown_values_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)
