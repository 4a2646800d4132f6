"""Weight files: what is refused, and what a message says."""

import os
import pickle
from urllib.error import URLError

import pytest
import torch
import torchvision

from alexlab.models.backbones import find_weights, published, read_weights
from alexlab.models.pretrained import Pretrained


class Malicious:
    """Unpickling it makes a folder: a stand-in for any command."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_malicious_pickle_is_refused_and_not_executed(writer, tmp_path):
    mark, file = tmp_path / "executed", tmp_path / "weights.pth"
    content = {"features.0.weight": Malicious(mark)}
    if writer == "torch":
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"refused: .*nothing in it was executed"):
        read_weights(file)
    assert not mark.exists()
    if writer == "torch":  # the file is a live one: a careless reader would have run it
        torch.load(file, weights_only=False)
    else:
        pickle.loads(file.read_bytes())
    assert mark.exists()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 0.99])
def test_a_file_cut_short(share, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(torchvision.models.squeezenet1_1().state_dict(), file)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(ValueError, match=r"weights=.*weights\.pth refused"):
        read_weights(file)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}, torch.ones(2)])
def test_plain_data_that_is_no_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="not a state dict"):
        read_weights(tmp_path / "weights.pth")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        Pretrained(4, name="squeezenet1_1", weights=str(tmp_path / "none.pth"))


def test_a_file_is_looked_up_from_here_then_in_the_folder(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there / "weights"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    (there / "weights" / "a.pth").touch()
    assert find_weights("weights/a.pth", str(there)) == there / "weights" / "a.pth"
    (here / "weights").mkdir()
    (here / "weights" / "a.pth").touch()
    assert find_weights("weights/a.pth", str(there)).absolute() == here / "weights" / "a.pth"
    with pytest.raises(FileNotFoundError, match=r"weights=b\.pth: no such file, here or in"):
        find_weights("b.pth", str(there))


def refusal(state, tmp_path, name="squeezenet1_1"):
    torch.save(state, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r"weights from file\.pth do not fit this net") as error:
        Pretrained(4, name=name, weights=str(tmp_path / "file.pth"))
    return str(error.value)


def test_a_mismatch_lists_the_first_wrong_keys(tmp_path):
    whole = torchvision.models.squeezenet1_1().state_dict()
    lacking = {name: t for name, t in whole.items() if name != "features.0.bias"}
    assert "1 missing (features.0.bias)" in refusal(lacking, tmp_path)
    assert "1 unexpected (stem.weight)" in refusal(whole | {"stem.weight": torch.ones(1)}, tmp_path)
    other = refusal(whole | {"features.0.weight": torch.ones(96, 3, 7, 7)}, tmp_path)
    assert "features.0.weight (96, 3, 7, 7) instead of (64, 3, 3, 3)" in other
    assert "missing" not in other
    # weights of SqueezeNet 1.0: fire modules stand elsewhere
    text = refusal(torchvision.models.squeezenet1_0().state_dict(), tmp_path)
    assert "12 missing (features.6.squeeze.weight, features.6.squeeze.bias)" in text


def test_offline_default_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    def offline(*_):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    file = "squeezenet1_1-b8a52dc0.pth"  # its published name
    with pytest.raises(FileNotFoundError, match=f"not available: {file}.*put it into") as error:
        Pretrained(4, name="squeezenet1_1", weights="default")
    assert str(tmp_path / "checkpoints") in str(error.value)
    state = torchvision.models.squeezenet1_1().state_dict()
    torch.save(state, tmp_path / "checkpoints" / file)  # as the message said
    net = Pretrained(4, name="squeezenet1_1", weights="default")
    assert torch.equal(net.backbone.features[0].weight, state["features.0.weight"])


def test_a_download_is_checked_against_its_published_hash(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *args: asked.append(args))
    path = published("https://host.invalid/models/resnet18-f37072fd.pth")
    assert path == tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    assert asked == [("https://host.invalid/models/resnet18-f37072fd.pth", str(path), "f37072fd")]


def test_a_net_built_for_its_shapes_only_still_checks_its_file(tmp_path, recwarn):
    file = tmp_path / "whole.pth"
    torch.save(torchvision.models.squeezenet1_1().state_dict(), file)
    with torch.device("meta"):
        net = Pretrained(4, name="squeezenet1_1", weights=str(file))
        assert not recwarn.list
        with pytest.raises(ValueError, match="do not fit this net"):
            Pretrained(4, name="squeezenet1_0", weights=str(file))
    assert all(p.is_meta for p in net.parameters())
