"""Test the axes of a command line, the trials' configs, identities and folder names."""

import itertools

import pytest
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hydra_plugins.hydra_study_sweeper._composer import Composer, differences, drop_keys
from hydra_plugins.hydra_study_sweeper._samplers import (
    from_override,
    make_sampler,
    search_space,
    to_override,
)
from hydra_plugins.hydra_study_sweeper._space import Space, folder_name, read_space
from hydra_plugins.hydra_study_sweeper.overrides import quote
from tests.sweeper.sweeping import ROOT

CONF = str(ROOT / "tests/sweeper/conf")


@pytest.fixture
def composer():
    """composer("lr=1,2", ...) -> Space and Composer of the toy app."""

    def make(*arguments, axes=None, ignore=("sweep",), **study):
        with initialize_config_dir(CONF, version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            config = loader.load_configuration("toy", list(arguments), RunMode.MULTIRUN)
            space = read_space(axes, arguments, loader, **study)
            return space, Composer(loader, config, space, ignore)

    return make


@pytest.mark.parametrize(
    "arguments",
    [
        ["lr=1,2", "seed=range(0,3)", "act=relu"],
        ["seed=3,1,2", "model=small,wide"],
        ["lr=choice(0.1,0.2)", "seed=range(5,0,-2)", "model=glob(*)"],
        ["act='a,b',c", "lr=1e-3,1"],
    ],
)
def test_grid_is_that_of_hydra_in_the_same_order(composer, arguments):
    space, made = composer(*arguments)
    parsed = OverridesParser.create(config_loader=made.loader).parse_overrides(arguments)
    (theirs,) = BasicSweeper.split_arguments(parsed, None)
    assert [space.overrides(values) for values in space.grid()] == [list(job) for job in theirs]


@pytest.mark.parametrize(
    "arguments",
    [
        ["model=small,wide", "lr=0.1,0.2", "act=relu,tanh", "+extra=[1,2],null"],
        ["+extra={a:1},{b:2},{a:3},5", "lr=0.1,0.2"],
        ["sweep={n_jobs:2},{n_trials:3},{n_jobs:4}", "sweep.sampler=tpe,random"],
        ["sweep={n_jobs:2},{n_trials:3}", "sweep.n_jobs=7,8"],
    ],
)
def test_config_is_composed_as_hydra_does(composer, arguments):
    """Hydra merges a dictionary into the one of the config."""
    space, made = composer(*arguments)
    for values in space.grid():
        lines = [f"{key}={value}" for key, value in values.items()]
        theirs = made.loader.load_sweep_config(made.config, lines)
        with open_dict(theirs):
            del theirs["hydra"]
        assert made.compose(values) == OmegaConf.to_container(theirs, resolve=True)


def test_identity_depends_on_what_can_change_a_result(composer):
    def identity(*arguments, **values):
        return composer(*arguments)[1].params(values).identity

    assert identity("lr=0.5,1", lr="0.5") == identity("lr=0.5")  # on an axis or fixed
    assert identity("sweep.n_jobs=4", "lr=0.5") == identity("lr=0.5")
    assert identity("lr=0.5,1", lr="0.5") == identity("lr=0.50,1", lr="0.50")
    assert identity("lr=0.5") != identity("lr=0.6")
    assert identity("model=wide") != identity("model=small")


def test_command_line_narrows_and_extends_the_axes_of_a_study(composer):
    axes = {"act": "relu,tanh", "seed": [0, 1]}
    space, _ = composer("act=elu", "lr=1,2", axes=axes)
    assert space.choices == {"act": ["elu"], "seed": ["0", "1"], "lr": ["1", "2"]}
    assert space.fixed == []


def test_command_line_overrides_scale_which_overrides_study(composer):
    axes = {"act": "relu,tanh", "seed": [0, 1]}
    scaled = {"seed": 5, "epochs": 2, "lr": 0.3}
    space, _ = composer("lr=0.4", axes=axes, scaled=scaled)
    assert space.choices == {"act": ["relu", "tanh"], "seed": ["5"]}
    assert sorted(space.fixed) == ["epochs=2", "lr=0.4"]


def test_recipe_is_a_set_of_overrides_below_the_command_line(composer):
    recipes = {"slow": {"lr": 0.01, "model": "wide"}, "fast": {"lr": 1.0, "epochs": 7}}
    axes = {"recipe": "slow,fast"}
    space, made = composer("epochs=4", axes=axes, recipes=recipes)
    slow, fast = (made.compose(values) for values in space.grid())
    assert [slow["recipe"], slow["lr"], slow["model"]["bias"]] == ["slow", 0.01, 0.5]
    assert [fast["recipe"], fast["lr"], fast["model"]["bias"]] == ["fast", 1.0, 0.0]
    assert slow["epochs"] == fast["epochs"] == 4
    recipes["same"] = recipes["fast"]  # its name cannot change a result
    _, made = composer(axes={"recipe": "fast,same"}, recipes=recipes)
    fast, same = (made.params({"recipe": name}) for name in ("fast", "same"))
    assert fast.identity == same.identity
    with pytest.raises(ValueError, match="recipe=quick: unknown; choose from slow, fast"):
        composer("recipe=quick", axes=axes, recipes=recipes)


@pytest.mark.parametrize(
    ("sweep", "one"),
    [
        ("lr=interval(0.1,1)", FloatDistribution(0.1, 1.0)),
        ("lr=tag(log,interval(1e-4,1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
        ("lr=int(interval(1,8))", IntDistribution(1, 8)),
        ("lr=tag(int,log,interval(1.0,8.0))", IntDistribution(1, 8, log=True)),
        ("lr=interval(1,8)", FloatDistribution(1.0, 8.0)),
    ],
)
def test_interval_gives_a_search_space(composer, sweep, one):
    space, _ = composer(sweep, "act=relu,tanh")
    assert search_space(space) == {"act": CategoricalDistribution(["relu", "tanh"]), "lr": one}


@pytest.mark.parametrize("sweep", ["lr=interval(1,0.5)", "lr=tag(log,interval(-1,1))"])
def test_impossible_interval_is_refused_by_its_key(composer, sweep):
    space, _ = composer(sweep)
    with pytest.raises(ValueError, match=r"^lr"):
        search_space(space)


@pytest.mark.parametrize(
    ("number", "values", "name"),
    [
        (3, {"act": "tanh", "seed": "1"}, "3-act-tanh-seed-1"),
        (0, {"optim.lr": "0.01", "data.batch_size": "8"}, "0-lr-0.01-batch-size-8"),
        (7, {"a.x": "1", "b.x": "2"}, "7-a.x-1-b.x-2"),
        (1, {"+path": "'/a b/c=d,e'"}, "1-path-a-b-c-d-e"),
        (2, {}, "2"),
    ],
)
def test_folder_names_need_no_quoting(number, values, name):
    assert folder_name(number, values) == name


def test_long_folder_names_are_shortened_and_stay_distinct():
    names = {folder_name(1, {"a": "x" * 200 + end}) for end in "ab"}
    assert len(names) == 2
    assert max(map(len, names)) < 90


@pytest.mark.parametrize("value", ["/a b/c", "it's", "a=b,c", "\\'", "{x}", "${y}", "a\\"])
def test_quoted_value_is_read_back(value):
    assert OverridesParser.create().parse_override(f"key={quote(value)}").value() == value


def test_differences_name_the_key():
    old, new = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5}
    assert differences(old, new) == ["a.c: 2 -> 4", "d: 3 -> absent", "e: absent -> 5"]


def test_a_repeated_value_is_one(composer):
    assert composer("lr=2,1,2")[0].choices == {"lr": ["2", "1"]}


@pytest.mark.parametrize("key", ["a.b", "+a.b", "a/b", "a/b@c"])
def test_a_key_is_dropped_as_an_axis_names_it(key):
    """As an option or as a group in a folder, added or with a package."""
    assert drop_keys({"a": {"b": 1, "d": 2}, "b": 3}, [key]) == {"a": {"d": 2}, "b": 3}


@pytest.mark.parametrize("name", ["tpe", "random", "nsgaii"])
def test_each_trial_of_each_search_has_a_seed_of_its_own(monkeypatch, name):
    """A sampler with one seed would repeat its suggestions after a restart."""
    used = []
    kind = {"tpe": "TPESampler", "random": "RandomSampler", "nsgaii": "NSGAIISampler"}[name]
    monkeypatch.setattr(f"optuna.samplers.{kind}", lambda seed: used.append(seed))
    for seed, number in itertools.product(range(3), range(50)):
        make_sampler(name, seed, number)
    assert len(set(used)) == 150


@pytest.mark.parametrize(
    ("value", "text", "distribution"),
    [
        (0.1, "0.1", FloatDistribution(0, 1)),
        (1e-05, "1e-05", FloatDistribution(0, 1)),
        (2.0, "2.0", FloatDistribution(0, 3)),
        (8, "8", IntDistribution(1, 8)),
        ("relu", "relu", CategoricalDistribution(["relu"])),
        ("1", "1", CategoricalDistribution(["1"])),
    ],
)
def test_a_suggestion_is_written_and_read_as_it_was(value, text, distribution):
    assert to_override(value) == text
    found = from_override(text, distribution)
    assert (found, type(found)) == (value, type(value))


def test_recipes_stand_last_and_fixed_settings_before_swept_ones():
    """On the command line of a trial, what comes later wins."""
    space = Space(
        fixed=["a=1", "b=2"],
        choices={"recipe": ["slow"], "c": ["3"]},
        recipes={"slow": ["lr=0.01", "b=9"]},
        order=["c", "a", "recipe", "b"],
    )
    found = space.overrides({"recipe": "slow", "c": "3", "new": "4"})
    assert found == ["c=3", "a=1", "recipe=slow", "b=2", "new=4", "lr=0.01", "b=9"]
