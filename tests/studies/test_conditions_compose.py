"""Every condition of every study makes a config whose parts take the settings that they get."""

import inspect

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
    with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        rates = (study.get("tune") or {}).items() if scale == "tune" else ()
        one = [f"{key}={str(values).split(',')[0]}" for key, values in rates]
        arguments = [f"study={path.stem}", f"scale={scale}", "seed=0", *one]
        config = loader.load_configuration("train", arguments, RunMode.MULTIRUN)
        sweeper = config.hydra.sweeper
        scaled, recipes = plain(sweeper.scaled), plain(sweeper.recipes)
        space = _space.read_space(
            plain(sweeper.axes), arguments, loader, scaled=scaled, recipes=recipes
        )
        composer = Composer(loader, config, space, plain(sweeper.ignore))
        for values in space.grid():
            content = composer.compose(values)
            for part in PARTS:
                node = {k: v for k, v in content[part].items() if k != "_partial_"}
                if (target := node.pop("_target_", None)) is not None:
                    inspect.signature(get_object(target)).bind_partial(**node)
