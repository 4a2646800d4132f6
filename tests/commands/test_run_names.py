"""The folder of a single run tells it from others, in lists and in TensorBoard."""

import re

import pytest

from alexlab.commands.train import compose_run, run_name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "alexnet-shapes"),
        (["act=tanh", "optim.lr=0.1", "seed=3"], "alexnet-shapes-tanh-lr-0.1-seed-3"),
        (["model=alexnet", "data=shapes", "+model.width=0.5"], "alexnet-shapes-width-0.5"),
        (["data.root=/home/me/my images/", "optim=adam"], "alexnet-shapes-root-my-images-adam"),
        (["logger.wandb.api_key=secret", "resume=x", "hydra.verbose=true"], "alexnet-shapes"),
        (["augment=[flip,crop]", "model.head=[256,256]"], "alexnet-shapes-flip-crop-head-256-256"),
        (["act=" + "x" * 200], "alexnet-shapes-" + "x" * 33),
    ],
)
def test_a_run_is_named_by_what_was_set(overrides, name):
    assert run_name("alexnet", "shapes", overrides) == name


def test_the_folder_of_a_run_has_its_name_and_a_resume_keeps_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, folder = compose_run(["model=alexnet", "act=tanh"])
    assert re.fullmatch(r"multirun/single/[\d_-]+-alexnet-shapes-tanh", str(folder))
