"""conf/: every option composes, every key has a reader, studies are in block style."""

import re
from pathlib import Path
from unicodedata import east_asian_width

import pytest
import yaml
from omegaconf import OmegaConf

from alexlab.commands import train  # noqa: F401 (its resolvers)
from alexlab.runs.config import CONF, compose_config, flatten

ROOT = CONF.parent
GROUPS = ["model", "data", "task", "optim", "sched", "augment"]
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_resolves(compose, group, option):
    cfg = compose(f"{group}={option}", "data_dir=/data")
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def test_every_root_key_is_read_somewhere(compose):
    cfg = compose()
    sources = [*ROOT.glob("src/**/*.py"), *CONF.rglob("*.yaml")]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    names = ("trainer", "sweep")  # passed on whole
    root = [key for key in cfg if key not in GROUPS and key not in names]
    unread = [key for key in root if not re.search(rf"cfg\.{key}\b|\$\{{{key}\}}", text)]
    unread = [key for key in unread if f'["{key}"]' not in text and f'get("{key}"' not in text]
    assert unread == []


def test_no_line_is_long():
    lines = [
        (f"{path.relative_to(CONF)}:{number}", line)
        for path in CONF.rglob("*.yaml")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
    ]
    assert [place for place, line in lines if columns(line) > 100] == []


def columns(line):
    """The width on a screen: a Chinese character takes two columns."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in line)


@pytest.mark.parametrize("path", sorted((CONF / "study").glob("*.yaml")), ids=lambda p: p.stem)
def test_studies_are_in_block_style(path):
    """No mapping is written as {key: value}."""
    text = path.read_text("utf-8")
    starts = [event for event in yaml.parse(text) if isinstance(event, yaml.MappingStartEvent)]
    assert [event.start_mark.line + 1 for event in starts if event.flow_style] == []


@pytest.mark.parametrize("scale", ["tuned", "tune", "published"])
def test_hydra_s_own_sweeper_and_launcher_can_be_chosen(compose, scale):
    compose(f"scale={scale}", "hydra/sweeper=basic", "hydra/launcher=basic")


def test_a_recipe_can_be_chosen_where_a_study_has_some(compose):
    with_recipes = 0
    for path in CONF.glob("study/*.yaml"):
        recipes = (compose(f"study={path.stem}").get("study") or {}).get("recipes") or {}
        for name in recipes:
            assert compose(f"study={path.stem}", f"recipe={name}").recipe == name
        with_recipes += bool(recipes)
    assert with_recipes >= 7
    assert "recipe" not in compose()


def test_one_value_stands_in_one_place(compose):
    """A setting of a part that is an alias of a root scalar is an interpolation, not a copy."""
    raw = OmegaConf.to_container(compose(), resolve=False)
    act = flatten(raw)["model.act"]
    assert act == "${act}"


def test_the_default_needs_no_data(compose, monkeypatch):
    monkeypatch.delenv("DATA_DIR", raising=False)
    cfg = compose()
    assert (cfg.data.name, cfg.data_dir) == ("shapes", "data")
    assert Path(cfg.data.root).parts[0] == ".cache"


@pytest.mark.parametrize(
    ("words", "suffix"),
    [
        (["study=activation"], ""),
        (["study=activation", "scale=tune"], "-tune"),
        (["study=activation", "scale=published"], "-published"),
        (["scale=tune"], ""),  # no study
    ],
)
def test_a_sweep_is_named_after_its_study_and_its_scale(words, suffix):
    cfg = compose_config([*words, "hydra.job.num=0", "hydra.job.id=0"], with_hydra=True)
    assert cfg.hydra.sweeper.suffix == suffix
