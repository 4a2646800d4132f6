import pytest
import torch
from torch import nn

from alexlab.models.alexnet import AlexNet
from alexlab.models.summary import summarize


def seen_by(net, channels, resolution, layer):
    """Side of the input square that a gradient from the middle of the layer's map reaches."""
    for name, parameter in net.named_parameters():
        nn.init.constant_(parameter, 1e-3 if name.endswith("weight") else 0.0)
    kept = []
    handle = layer.register_forward_hook(lambda *call: kept.append(call[2]))
    images = torch.ones(1, channels, resolution, resolution, requires_grad=True)
    net(images)
    handle.remove()
    middle = kept[0].shape[-1] // 2
    kept[0][0, :, middle, middle].sum().backward()
    columns = images.grad[0].abs().sum((0, 1)).nonzero()
    return int(columns.max() - columns.min()) + 1


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 5, stride=2)
        self.pool = nn.AvgPool2d(3, 2)
        self.wide = nn.Conv2d(2, 2, 3, padding=2, dilation=2)
        self.narrow = nn.Conv2d(2, 2, 1)
        self.last = nn.Conv2d(2, 2, 3)

    def forward(self, images):
        maps = self.pool(self.stem(images))
        return self.last(self.wide(maps) + self.narrow(maps))


def test_fields_are_the_reach_of_the_gradient():
    net = Residual().double().float()
    rows = {row.name: row for row in summarize(net, in_channels=1, resolution=129).rows}
    for name, row in rows.items():
        assert row.field[0] == seen_by(net, 1, 129, net.get_submodule(name)), name
    assert rows["narrow"].field < rows["wide"].field
    assert rows["last"].field[1] == 4  # strides 2 x 2


def test_fields_of_alexnet_are_those_of_the_literature():
    """Araujo et al., Distill 2019: 195 px with an effective stride of 32 after the last pooling."""
    with torch.device("meta"):
        net = AlexNet(1000, resolution=224)
    rows = summarize(net, in_channels=3, resolution=224).rows
    assert [row.field for row in rows if row.step] == [
        *[(11, 4), (19, 8), (51, 8), (67, 16), (99, 16), (131, 16), (163, 16), (195, 32)]
    ]
    assert [row.field for row in rows if row.kind == "Linear"] == [None] * 3


def test_alexnet_beside_its_article(alexlab, capsys, monkeypatch):
    monkeypatch.setenv("DATA_DIR", "/nowhere")
    alexlab("explain", "model=alexnet", "data=pokemon", "data.resolution=224", "--outputs", "1000")
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: line.split() for line in lines if line.strip()}
    # 11x11x3x96 + 96 weights; 55x55x96 neurons; each takes 363 multiply-adds
    assert found["features.conv1"] == [
        *("features.conv1", "Conv2d", "55x55x96", "34,944", "290,400", "105,415,200"),
        *("11", "px", "4", "px"),
    ]
    assert found["total"][1:3] == ["60,965,224", "659,272"]
    assert found["parameters"][1:] == ["61.0M", "60M"]
    assert found["neurons"][1:] == ["659K", "650K"]
    assert found["weight"] == ["weight", "layers", "8", "8"]
    assert any("6x6x256 -> fc 4096" in line for line in lines)
    assert max(map(len, lines)) < 150
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(
    ("settings", "outputs"),
    [(["data=scores", "task=regression", "model=score_cnn"], 1), (["model=small_cnn"], 5)],
)
def test_outputs_without_a_data_set(alexlab, capsys, settings, outputs):
    alexlab("explain", *settings)
    assert f", {outputs} outputs" in capsys.readouterr().out


def test_a_wrong_setting_is_one_line(alexlab, capsys):
    with pytest.raises(SystemExit, match="1"):
        alexlab("explain", "model=alexnet", "data.resolution=40", "model.stem=imagenet")
    assert capsys.readouterr().err.startswith("error: resolution=40 is too small")
