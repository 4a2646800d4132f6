"""What a person reads when something is wrong: real messages of Hydra, Python and the system."""

import re
import shlex
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from alexlab import errors
from alexlab.commands.arguments import explain_setting
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
    told = format_error(error_of("optim.lrr=3"), explain_setting)
    assert told == "optim.lrr: no such setting; did you mean optim.lr?"


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("lr=0.1", "optim.lr"),
        ("batch_size=8", "data.batch_size"),
        ("epochs=3", "trainer.max_epochs"),
        ("max_epoch=3", "trainer.max_epochs"),
        ("trainer.momentum=0.9", "optim.momentum"),
        ("sead=1", "seed"),
        ("modl=alexnet", "model"),
    ],
)
def test_an_unknown_setting_is_found_in_its_group(error_of, override, hint):
    told = format_error(error_of(override), explain_setting)
    key = override.partition("=")[0]
    assert re.match(rf"{key}: no such setting; did you mean (.* or )?{hint}( or .*)?\?", told), told


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            "optim=adam optim.momentum=0.9",
            "optim.momentum: optim=adam has no such setting; it exists for optim=rmsprop and sgd",
        ),
        (
            "sched=step sched.T_max=3",
            "sched.T_max: sched=step has no such setting; it exists for sched=cosine",
        ),
        (
            "model.width=2",
            "model.width: the chosen model has no such setting; it exists for model=alexnet",
        ),
    ],
)
def test_a_setting_that_the_chosen_option_lacks(error_of, monkeypatch, overrides, told):
    monkeypatch.setattr("sys.argv", ["train", *overrides.split()])
    assert format_error(error_of(*overrides.split()), explain_setting) == told


def test_of_several_options_those_that_lack_the_setting_are_named(error_of, monkeypatch):
    """As in a sweep over the group: the error comes from the one that lacks it."""
    monkeypatch.setattr("sys.argv", ["train", "-m", "optim=sgd,adam,adamw", "optim.momentum=0.9"])
    told = format_error(error_of("optim=adam", "optim.momentum=0.9"), explain_setting)
    assert told.startswith("optim.momentum: optim=adam, adamw has no such setting; ")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "optim.lr=1e-3,1e-2",
            "optim.lr=1e-3,1e-2: several values make a sweep: add -m\n"
            "(one value that is a list: optim.lr=[1e-3,1e-2]; a text: 'optim.lr=\"1e-3,1e-2\"')",
        ),
        ("seed=range(3)", "seed=range(3): several values make a sweep: add -m\n"),
        ("act=choice(relu,tanh)", "act=choice(relu,tanh): several values make a sweep: add -m\n"),
        ("data.root=a=b", "data.root=a=b: cannot be read; put the value into quotes: 'data.root="),
        ("data.root=a(b", "data.root=a(b: cannot be read; put the value into quotes: 'data.root="),
        ("data.root=[x", "data.root=[x: cannot be read; put the value into quotes"),
        ("folder", "folder: a setting is KEY=VALUE; put a value with spaces into quotes"),
        ("=y", "a setting without a key; write KEY=VALUE, without spaces around ="),
    ],
)
def test_a_command_line_that_cannot_be_read_has_a_way_out(error_of, override, told):
    assert format_error(error_of(override)).startswith(told)


@pytest.mark.parametrize(
    "value", ["a=b", "a(b", 'say= "hi"', "x{y", "back\\slash=", "a, b = c", "Ann's=x"]
)
def test_the_quotes_that_are_advised_can_be_read(error_of, value):
    told = format_error(error_of(f"data.root={value}"))
    (advised,) = shlex.split(told.partition("quotes: ")[2])  # as a shell reads it
    assert OverridesParser.create().parse_override(advised).value() == value


def test_an_unknown_option_has_near_matches_and_all_that_is_known(error_of):
    told = format_error(error_of("optim=sdg"))
    assert told == "optim=sdg: unknown; did you mean sgd? choose from adam, adamw, rmsprop, sgd"


def test_an_error_in_a_constructor_is_told_without_hydra_around_it():
    with pytest.raises(InstantiationException) as caught:
        instantiate({"_target_": "alexlab.models.activations.activation", "name": "rleu"})
    assert format_error(caught.value).startswith("act=rleu: unknown; did you mean relu")


def test_an_argument_that_a_part_does_not_take_is_named():
    with pytest.raises(InstantiationException) as caught:
        instantiate({"model": {"_target_": "alexlab.models.small_cnn.SmallCNN", "depth": 3}})
    told = format_error(caught.value)
    assert told == "model: SmallCNN takes no 'depth'; remove the setting ending in .depth"


def test_a_part_that_is_removed_is_named(error_of):
    config = OmegaConf.create({"model": {}})
    OmegaConf.set_struct(config, True)
    with pytest.raises(AttributeError) as caught:
        _ = config.model.act
    told = format_error(caught.value)
    assert told == "model.act: a run needs this setting; do not remove it with ~model.act"
    assert "name one of its options" in format_error(error_of("optim=null"))


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


@pytest.mark.parametrize("extra", ["onnx", "cmaes"])
def test_in_an_installation_the_packages_of_the_extra_are_named(monkeypatch, extra):
    try:
        requires("alexlab")
    except PackageNotFoundError:
        pytest.skip("needs an installed alexlab, whose metadata lists the packages")
    monkeypatch.setattr(errors, "CHECKOUT", None)
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    packages = [f"'{package}'" for package in project["optional-dependencies"][extra]]
    told = missing_extra(extra, "this")
    assert told == f"this needs more packages: pip install {' '.join(packages)}"
    assert "alexlab" not in told
