"""Pictures whose answer is known: nets made by hand that look at red."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from alexlab.data.preprocess import Preprocess
from alexlab.evaluation import feature_maps, loading, look
from alexlab.training.tasks import Classification


class SeesRed(nn.Module):
    """The second class is as likely as the image is red, anywhere."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.conv.weight.data[:] = 0.0
        self.conv.weight.data[1, 0] = 1.0
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        return self.dropout(self.conv(images).relu().mean((2, 3)))


@pytest.fixture
def red_corner():
    """One image [1, 3, 32, 32] uint8: black, a red square of 8 at the lower left."""
    stored = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    stored[:, 0, 24:, :8] = 255
    return stored


def cell(picture, row, column, side=feature_maps.CELL, gap=3):
    top, left = gap + row * (side + gap), gap + column * (side + gap)
    return picture[:, top : top + side, left : left + side]


def test_filters_share_one_scale_around_grey():
    shown = feature_maps.filters(SeesRed())
    first, second = (cell(shown, 0, i, feature_maps.FILTER) for i in (0, 1))
    assert (first == 0.5).all()
    assert second[:, 20, 20].tolist() == [1.0, 0.5, 0.5]


def test_filters_of_other_than_three_channels_are_grey():
    net = nn.Sequential(nn.Conv2d(2, 1, 1, bias=False))
    net[0].weight.data[:] = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    shown = feature_maps.filters(net)
    assert cell(shown, 0, 0, feature_maps.FILTER)[:, 20, 20].tolist() == [1.0, 1.0, 1.0]


def test_the_map_that_answers_comes_first_and_shows_where(red_corner):
    net, random = SeesRed().train(), torch.get_rng_state()
    pixels = red_corner / 255
    shown = feature_maps.feature_maps(net, pixels, pixels)
    assert cell(shown, 0, 0)[:, 60, 4].tolist() == [1.0, 0.0, 0.0]  # the image
    strongest = cell(shown, 0, 1)[0]
    assert (strongest[48:, :16] == 1).all()
    assert strongest.sum() == 16 * 16  # nowhere else
    assert torch.equal(torch.get_rng_state(), random)
    assert net.training
    assert not net.conv._forward_hooks


def test_grad_cam_is_hot_where_the_red_is(red_corner):
    net = SeesRed().eval().requires_grad_(False)
    task, view = Classification(2), Preprocess(32)
    run = loading.LoadedRun(None, None, net, task, view, ["no", "red"], {}, torch.device("cpu"))
    images, pixels = view(red_corner, training=False), view.pixels(red_corner, training=False)
    figure = look.draw_grad_cam(run, images, torch.zeros_like(pixels), ["it"])
    hot = np.asarray(figure.axes[1].images[1].get_array()) > 0.5
    assert hot[24:, :8].all()
    assert hot.sum() == 64
    assert figure.axes[1].get_title().startswith("predicted red")


class Weighs(nn.Module):
    """Two maps of one image, and an output that is 1 x the first map's mean - 3 x the second's."""

    def __init__(self):
        super().__init__()
        self.maps, self.act = nn.Identity(), nn.ReLU(inplace=True)

    def forward(self, images):
        means = self.act(self.maps(images * 1)).mean((2, 3))
        return torch.stack([means[:, 0] - 3 * means[:, 1], means[:, 0] * 0 - 9], dim=1)


def test_grad_cam_is_that_of_the_paper():
    """By hand: the mean gradients of 4 pixels are 1/4 and -3/4 where all of a map is positive."""
    maps = torch.tensor([[[[8.0, 4.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 0.25]]]])
    net = Weighs()
    found = look.grad_cam(net, net.maps, maps)
    sums = np.array([[8 - 3, 4 - 3], [2 - 3, 1 - 0.75]]) / 4  # before the largest becomes 1
    np.testing.assert_allclose(found[0], np.maximum(sums, 0) / sums.max(), rtol=1e-6)
    assert not net.maps._forward_hooks


def test_grad_cam_before_a_layer_that_works_in_place():
    """By hand: a map counts as it is before that ReLU, which gives negative pixels no gradient."""
    maps = torch.tensor([[[[8.0, 4.0], [2.0, 1.0]], [[-4.0, 1.0], [-1.0, -1.0]]]])
    net = Weighs()
    found = look.grad_cam(net, net.maps, maps)
    weights = 1 / 4, -3 / 16  # of the second map one pixel of four has a gradient, -3/4
    sums = weights[0] * maps[0, 0] + weights[1] * maps[0, 1]
    np.testing.assert_allclose(found[0], sums / sums.max(), rtol=1e-6)


def test_pictures_of_a_run_for_an_image_of_each_class(alexlab, class_run, capsys):
    alexlab("look", class_run)
    printed = capsys.readouterr().out.splitlines()
    names = ["filters.png", "feature_maps.png", "gradcam.png"]
    drawn = [line for line in printed if line.endswith(".png")]
    assert drawn == [str(class_run / "look" / name) for name in names]
    height = Image.open(class_run / "look/feature_maps.png").height
    assert height == 3 + 5 * 5 * (feature_maps.CELL + 3)  # five classes, five layers


def test_an_image_that_is_not_there_is_said(alexlab, class_run, capsys):
    with pytest.raises(SystemExit, match="1"):
        alexlab("look", class_run, "--test", "0", "99")
    assert "error: --test: the test set has the images 0 to 19" in capsys.readouterr().err
