"""Several crops per image see the pixels that the ordinary test sees."""

import torch

from alexlab.data.preprocess import Preprocess
from tests.tiny import train


def test_preprocessing_is_not_in_mixed_precision(config, tmp_path, monkeypatch):
    """bfloat16 has 8 bits: a DCT of 36 pixels in it is wrong by up to 6 % of its range."""
    autocast, original = [], Preprocess.forward

    def forward(self, images, *, training):
        autocast.append(torch.is_autocast_enabled("cpu"))
        return original(self, images, training=training)

    monkeypatch.setattr(Preprocess, "forward", forward)
    mixed = ["trainer.precision=bf16-mixed", "data.representation=dct", "test_crops=[1,10]"]
    net = train(config(*mixed, "trainer.max_epochs=1"), tmp_path / "run")
    assert autocast
    assert not any(autocast)
    assert "test/acc_10_crops" in net.record["metrics"]


def test_half_precision_weights_get_half_precision_images(config, tmp_path):
    half = ["trainer.precision=bf16-true", "test_crops=[1,10]", "trainer.max_epochs=1"]
    run = train(config(*half), tmp_path / "run")
    assert "test/acc_10_crops" in run.record["metrics"]
