"""Several crops per image see the pixels that the ordinary test sees."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from alexlab.data.datamodule import ImageFolderData
from alexlab.data.decode import DEFAULT_WHITE
from alexlab.data.preprocess import Preprocess
from alexlab.evaluation.inference import Crops
from alexlab.training.callbacks import multi_crop_test
from alexlab.training.callbacks.multi_crop_test import MultiCropTest
from alexlab.training.tasks import Classification, Regression
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


def test_probabilities_are_averaged_over_the_crops(monkeypatch):
    """Three crops: the mean of the logits is largest for class 0, that of the softmax for 1."""
    logits = torch.tensor([[10.0, 0.0], [0.0, 3.0], [0.0, 3.0]])
    loader = SimpleNamespace(batches=lambda: [np.array([7])])
    data = SimpleNamespace(
        test_dataloader=lambda: loader,
        preprocess=lambda images, training: pytest.fail("augmented") if training else images,
        cache=SimpleNamespace(paths=lambda rows: [f"{row}.png" for row in rows]),
        targets=torch.ones(8, dtype=torch.long),
    )
    learner = SimpleNamespace(
        task=Classification(2), net=lambda images: logits, device="cpu", dtype=torch.float32
    )

    def predict_all(paths, crops, predict):
        assert paths == ["7.png"]
        return predict(torch.zeros(3, 3, 2, 2)).mean(0, keepdim=True)

    monkeypatch.setattr(multi_crop_test, "predict_all", predict_all)
    callback = MultiCropTest.__new__(MultiCropTest)
    callback.data, callback.predictions = data, {}
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=nullcontext))
    assert callback._scores(SimpleNamespace(number=3), trainer, learner)["acc"] == 1


def test_grey_files_are_decoded_as_for_training(tmp_path):
    """Half of 4095 in files of 16 bits is 128 of 255; as 16 bits it would be 8, nearly black."""
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(5):
            values = np.full((16, 16), 2048, np.uint16)
            values[:8] += 2047 * (i == 0)
            Image.fromarray(values).save(tmp_path / "in" / name / f"{i}.png")
    settings = {"name": "x", "resolution": 16, "batch_size": 2, "split": "random"}
    data = ImageFolderData(str(tmp_path / "in"), cache_dir=str(tmp_path / "cache"), **settings)
    data.prepare()
    red = lambda images: images[:, :1].mean((2, 3))  # noqa: E731
    task = Regression(low=-9, high=9)
    learner = SimpleNamespace(task=task, net=red, device="cpu", dtype=torch.float32)
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=nullcontext))
    callback = MultiCropTest([10], data)
    callback._scores(callback.crops[0], trainer, learner)
    found = callback.predictions[10].min().item()
    assert found == pytest.approx((128 / 255 - 0.485) / 0.229, abs=1e-4)


def test_ten_crops_are_cut_from_the_images_as_loaded():
    """As in AlexNet's test: 224 pixels from squares of 256, which is `load_size`."""
    data = SimpleNamespace(resolution=224, load_size=256, fit="crop", white=DEFAULT_WHITE)
    assert MultiCropTest([1, 10], data).crops == [Crops(10, 224, 256, "crop")]
