"""What a person reads when something is wrong: real messages of Hydra, Python and the system."""

import tomllib
from pathlib import Path

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from alexlab import errors
from alexlab.errors import (
    RENAMED,
    RENAMED_LISTS,
    format_error,
    missing_extra,
    refuse_old_settings,
)


@pytest.fixture
def error_of(compose):
    def make(*overrides):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - its kind is the point of the test
            compose(*overrides)
        return caught.value

    return make


def test_an_unknown_setting_has_near_matches(error_of):
    told = format_error(error_of("optim.lrr=3"), ["optim.lr", "act"])
    assert told == "optim.lrr: no such setting; did you mean optim.lr? choose from optim.lr, act"


def test_an_unknown_option_has_near_matches_and_all_that_is_known(error_of):
    told = format_error(error_of("optim=sdg"))
    assert told == "optim=sdg: unknown; did you mean sgd? choose from adam, adamw, rmsprop, sgd"


def test_an_error_in_a_constructor_is_told_without_hydra_around_it():
    with pytest.raises(InstantiationException) as caught:
        instantiate({"_target_": "alexlab.models.activations.activation", "name": "rleu"})
    assert format_error(caught.value).startswith("act=rleu: unknown; did you mean relu")


def test_an_error_of_the_system_names_the_file():
    with pytest.raises(OSError, match="nowhere") as caught:
        Path("/nowhere/at/all").read_text()
    assert format_error(caught.value) == "/nowhere/at/all: No such file or directory"


def test_an_unforeseen_error_keeps_its_kind():
    assert format_error(TypeError("no such argument\nmore\nand more")) == (
        "TypeError: no such argument\nmore"
    )


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("jobs=2", "jobs=2: this setting is now sweep.n_jobs; write sweep.n_jobs=2"),
        ("+prune=median", "+prune=median: this setting is now sweep.pruner; write sweep.pruner="),
        (
            "sched.after=0.5",
            "sched.after=0.5: this setting is now sched.drop_lr; write sched.drop",
        ),
        (
            "sched.after=[3]",
            "sched.after=[3]: this setting is now sched.milestones; write sched.",
        ),
        ("sweep=mine", "sweep=mine: this setting is now sweep.name; write sweep.name=mine"),
        (
            "retries=1",
            "retries=1: this setting is now sweep.max_retries; write sweep.max_retries=1",
        ),
    ],
)
def test_an_old_setting_is_answered_with_its_new_name(error_of, override, answer):
    assert format_error(error_of(override)).startswith(answer)


def test_every_new_name_is_a_setting(compose):
    configs = [compose(f"sched={sched}") for sched in ("drop18", "piecewise")]
    for new in (*RENAMED.values(), *RENAMED_LISTS.values()):
        assert any(OmegaConf.select(cfg, new, default="-") != "-" for cfg in configs), new
    refuse_old_settings([f"{new}=1" for new in RENAMED.values()])


def test_in_a_checkout_the_extra_is_named():
    told = missing_extra("onnx", "--format onnx")
    assert told.startswith("--format onnx needs an extra: pip install -e '.[onnx]'")


@pytest.mark.parametrize("extra", ["onnx", "gradcam"])
def test_in_an_installation_the_packages_of_the_extra_are_named(monkeypatch, extra):
    monkeypatch.setattr(errors, "CHECKOUT", None)
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    packages = [f"'{package}'" for package in project["optional-dependencies"][extra]]
    told = missing_extra(extra, "this")
    assert told == f"this needs more packages: pip install {' '.join(packages)}"
    assert "alexlab" not in told
