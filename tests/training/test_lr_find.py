import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alexlab import factory
from alexlab.training import build, lr_find
from alexlab.training.lr_find import Curve


@pytest.fixture
def settings(image_folder, tmp_path):
    return [
        *["data=folder", f"data.root={image_folder}", "data.resolution=32", "data.batch_size=6"],
        *["model=small_cnn", "optim.momentum=0.0", "optim.fused=false"],
        f"cache_dir={tmp_path}/.cache",
    ]


def test_the_curve_is_that_of_a_loop_by_hand(compose, settings):
    cfg = compose(*settings, "trainer.accelerator=cpu")
    found = lr_find.find(cfg, 1e-4, 0.1, 20)
    np.testing.assert_allclose(np.diff(np.log(found.lrs[2:])), np.log(1e3) / 20, rtol=1e-6)
    data = factory.data_module(cfg)
    net = build.learner(cfg, data).net.train()
    loader, losses = data.train_dataloader(), []
    while len(losses) < len(found.lrs):
        loader.set_epoch(len(losses) // len(loader))
        for images, targets in loader:
            loss = F.cross_entropy(net(data.preprocess(images, training=True)), targets)
            losses.append(float(loss.detach()))
            net.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter -= found.lrs[len(losses) - 1] * parameter.grad
            if len(losses) == len(found.lrs):
                break
    np.testing.assert_allclose(found.losses, losses, rtol=1e-3)


@pytest.fixture
def drop():
    """Falls from 2.3 to 0.5, fastest at 3e-3, and blows up from 0.3; noise on each step."""
    lrs = np.geomspace(1e-6, 1, 150)
    losses = 0.5 + 1.8 / (1 + (lrs / 3e-3) ** 1.5)
    losses += np.where(lrs > 0.3, (lrs / 0.3) ** 6 - 1, 0)
    return Curve(lrs, losses + np.random.default_rng(0).normal(0, 0.05, 150))


def test_suggestion_is_where_the_loss_falls_fastest(drop):
    assert 1.5e-3 < drop.suggestion < 6e-3


@pytest.mark.parametrize("end", [np.nan, np.inf, 1e30])
def test_what_blows_up_does_not_move_it(drop, end):
    losses = np.where(drop.lrs > 0.5, end, drop.losses)
    assert 1.5e-3 < Curve(drop.lrs, losses).suggestion < 6e-3


def test_no_suggestion_where_the_loss_only_blows_up():
    noise = np.random.default_rng(0).normal(0, 0.05, 150)
    losses = 1.6 + noise + np.geomspace(1e-9, 1, 150)
    assert Curve(np.geomspace(1e-6, 1, 150), losses).suggestion is None


def test_without_a_suggestion_there_is_the_picture_and_an_error(
    alexlab, settings, tmp_path, capsys
):
    out = tmp_path / "curve.png"
    whole = [*settings, "data.batch_size=12"]  # all of train in a batch: no noise
    tiny = ["--steps", "20", "--low", "1e-9", "--high", "1e-8"]
    with pytest.raises(SystemExit, match="1"):
        alexlab("lr-find", *whole, *tiny, "--out", out)
    assert out.exists()
    assert "the loss did not fall at any rate in 20 steps" in capsys.readouterr().err


def test_a_picture_and_an_override_are_all_that_is_left(
    alexlab, settings, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "new/curve.png"
    alexlab("lr-find", *settings, "--steps", "60", "--low", "1e-4", "--out", out)
    name, override = capsys.readouterr().out.splitlines()[-2:]
    assert name == str(out)
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert override.startswith("optim.lr=")
    assert {path.name for path in tmp_path.iterdir()} == {".cache", "new"}
