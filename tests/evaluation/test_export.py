"""What is exported gives, in the runtime of others, what the run's own net gives."""

import json

import pytest
import torch

from alexlab.commands import export as command
from alexlab.evaluation import export, loading

pytestmark = pytest.mark.slow

NETS = {
    "alexnet": ["model=alexnet", "model.width=0.1", "model.head=[16,16]", "data.resolution=64"],
    "small_cnn": ["model=small_cnn", "data.resolution=32", "data.load_size=36"],
    "score_cnn": ["model=score_cnn", "task=regression", "data.targets=score", "data.resolution=32"],
}


@pytest.fixture(scope="module", params=NETS)
def run(request, train_shapes):
    return train_shapes(*NETS[request.param])


def expected(net):
    """Pixels in [0, 1], and what the run's net makes of them."""
    images = torch.rand(
        7, 3, net.resolution, net.resolution, generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        return images, net.task.predict(net.net(net.view.representation(images)))


def test_onnx_runtime_agrees_for_batches_of_any_size(run, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    pytest.importorskip("onnxscript", reason="the extra [onnx] is not installed")
    path, difference, images = export.export(run, "onnx", output=tmp_path / "deep/net.onnx")
    number = len(loading.load_run(run).data().indices["test"])
    assert number < export.IMAGES
    assert images == f"{number} test images"
    assert path == tmp_path / "deep/net.onnx"
    assert difference < 1e-4
    assert [p.name for p in path.parent.iterdir()] == ["net.onnx"]
    session = runtime.InferenceSession(path)
    net = loading.load_run(run)
    images, outputs = expected(net)
    for n in (1, 7):
        (found,) = session.run(None, {"images": images[:n].numpy()})
        assert torch.allclose(torch.from_numpy(found), outputs[:n], atol=1e-4)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == net.classes
    assert facts["task"] == ("classification" if net.classes else "regression")


def test_torch_export_agrees_for_batches_of_any_size(run, tmp_path):
    path, *_ = export.export(run, "torch_export", output=tmp_path / "net.pt2")
    facts = {export.METADATA: ""}
    module = torch.export.load(path, extra_files=facts).module()
    net = loading.load_run(run)
    images, outputs = expected(net)
    for n in (1, 7):
        assert torch.allclose(module(images[:n]), outputs[:n], atol=1e-5)
    assert json.loads(json.loads(facts[export.METADATA])["classes"]) == net.classes


def test_a_difference_is_an_error_and_nothing_is_written(
    alexlab, run, tmp_path, monkeypatch, capsys
):
    suffix, write = export.FORMATS["torch_export"]

    def wrong(*arguments):
        write(*arguments)
        return lambda images: torch.full((len(images), 1), 0.3)

    monkeypatch.setitem(export.FORMATS, "torch_export", (suffix, wrong))
    with pytest.raises(SystemExit):
        alexlab("export", run, "--format", "torch_export", "--output", tmp_path / "net.pt2")
    assert "differ from the run's by" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_offers_the_formats_that_there_are():
    assert set(command.FORMATS) == set(export.FORMATS)
