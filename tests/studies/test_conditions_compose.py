"""Every condition of every study makes a config whose parts take the settings that they get."""

import inspect
from contextlib import contextmanager

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import OmegaConf

import alexlab.commands.train  # noqa: F401  registers the resolvers that conf/ uses
from alexlab.runs.config import CONF
from hydra_plugins.hydra_study_sweeper import _space
from hydra_plugins.hydra_study_sweeper._composer import Composer

PARTS = "model", "data", "task", "optim", "sched", "augment"


def study_of(path):
    return OmegaConf.to_container(OmegaConf.load(path)).get("study") or {}


STUDIES = [p for p in sorted((CONF / "study").glob("*.yaml")) if study_of(p).get("claims")]


def plain(node):
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node


@contextmanager
def sweep(arguments):
    """The composer of a study's sweep, and the values of its trials."""
    with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("train", arguments, RunMode.MULTIRUN)
        sweeper = config.hydra.sweeper
        scaled, recipes = plain(sweeper.scaled), plain(sweeper.recipes)
        space = _space.read_space(
            plain(sweeper.axes), arguments, loader, scaled=scaled, recipes=recipes
        )
        yield Composer(loader, config, space, plain(sweeper.ignore)), space.grid()


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_data_folder_that_moves_changes_no_identity(path):
    """The files of a study lie below data_dir, and are named from there."""
    found = []
    for place in ("/first", "/second"):
        arguments = [f"study={path.stem}", "scale=published", "seed=0", f"data_dir={place}"]
        with sweep(arguments) as (composer, grid):
            found.append([composer.params(values).identity for values in grid])
    assert found[0] == found[1] != []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "scale"),
    [
        pytest.param(path, scale, id=f"{path.stem}-{scale}")
        for path in STUDIES
        for scale in ("published", "tune")
        if scale == "published" or study_of(path).get("tune")
    ],
)
def test_parts_take_the_settings_of_every_condition(path, scale):
    study = study_of(path)
    rates = (study.get("tune") or {}).items() if scale == "tune" else ()
    one = [f"{key}={str(values).split(',')[0]}" for key, values in rates]
    with sweep([f"study={path.stem}", f"scale={scale}", "seed=0", *one]) as (composer, grid):
        for values in grid:
            content = composer.compose(values)
            for part in PARTS:
                node = {k: v for k, v in content[part].items() if k != "_partial_"}
                if (target := node.pop("_target_", None)) is not None:
                    inspect.signature(get_object(target)).bind_partial(**node)
