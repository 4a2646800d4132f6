"""A config resolved again after some values have changed, beside OmegaConf's own resolution."""

import itertools

import pytest
from omegaconf import OmegaConf

from hydra_plugins.hydra_study_sweeper._resolution import Resolution

CALLS = []

CONTENT = {
    "a": 1,
    "b": "x",
    "list": [1, "${a}"],
    "of_a": "${a}",
    "of_of_a": "${part.again}",
    "text": "${b}-${a}",
    "part": {"again": "${of_a}", "near": "${.again}", "far": "${..b}", "k": 3, "empty": {}},
    "names": {"x": "first", "y": "second"},
    "chosen": "${names.${b}}",
    "whole": "${part}",
    "counted": "${counted:${part.k},${oc.env:NOT_SET,7}}",
    "rooted": "${rooted:1}",
    "parented": {"one": "${oc.select:b,9}", "two": 2},
    "index": "${list[1]}",
    "escaped": r"\${a}",
    "missing": "???",
    "none": None,
    "still": {"list": [1, 2], "value": 3},
}


@pytest.fixture(autouse=True)
def _resolvers():
    CALLS.clear()
    OmegaConf.register_new_resolver(
        "counted", lambda k, env: CALLS.append(k) or f"{k}/{env}", replace=True
    )
    OmegaConf.register_new_resolver(
        "rooted", lambda one, *, _root_: f"{one}{_root_.a}", replace=True
    )


@pytest.mark.parametrize(
    "axes",
    [
        {"a": [1, 2, 3]},
        {"b": ["x", "y"]},
        {"a": [5, 6], "b": ["y", "x"]},
        {"part.k": [1, 2]},
        {"list": [[1, 2], ["${b}", "${a}"], [0, []]]},
        {"of_a": [4, "${b}", 5]},
        {"part.again": [7, None]},
        {"part.empty": [1, 2]},
        {"parented.two": ["${a}", 3], "a": [0, 9]},
        {"names.x": ["other", "first"]},
        {"none": [None, 1.5, True]},
    ],
)
def test_the_content_is_what_omegaconf_resolves(axes):
    cfg, checked = OmegaConf.create(CONTENT), 0
    resolution = None
    for values in itertools.product(*axes.values()):
        for key, value in zip(axes, values, strict=True):
            OmegaConf.update(cfg, key, value, merge=False)
        resolution = resolution or Resolution(cfg, list(axes))
        assert resolution.content() == OmegaConf.to_container(cfg, resolve=True)
        checked += 1
    assert checked > 1


def test_a_key_with_a_dot_is_resolved_as_ever():
    cfg = OmegaConf.create({"a": 1, "odd.key": {"of": "${a}"}})
    resolution = Resolution(cfg, ["a"])
    cfg.a = 2
    assert resolution.content() == {"a": 2, "odd.key": {"of": 2}}


def test_what_no_changed_value_reaches_is_resolved_once():
    cfg = OmegaConf.create(CONTENT)
    resolution = Resolution(cfg, ["a"])
    calls = len(CALLS)
    for value in range(100):
        cfg.a = value
        resolution.content()
    assert len(CALLS) == calls
    by_k = Resolution(cfg, ["part.k"])
    calls = len(CALLS)
    for value in range(10):
        cfg.part.k = value
        by_k.content()
    assert CALLS[calls:] == list(range(10))


def test_a_content_is_the_callers_to_change():
    cfg = OmegaConf.create(CONTENT)
    resolution = Resolution(cfg, ["a"])
    resolution.content()["still"]["value"] = "changed"
    resolution.content()["still"]["list"].append("changed")
    assert resolution.content() == OmegaConf.to_container(cfg, resolve=True)
