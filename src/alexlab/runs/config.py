"""Write config.yaml resolved; check every `_target_` when reading it.

A folder from a stranger may name any function as a `_target_`; at each place of the config only
the functions that the files of conf/ call at that place are allowed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from alexlab.errors import refuse_old_settings
from alexlab.performance.devices import effective_batch_size, resolve_precision
from alexlab.runs.folder import CONFIG, METRICS, write_atomically
from alexlab.runs.settings import check_settings
from hydra_plugins.hydra_study_sweeper.run_folder import read_plain_yaml

PACKAGE = Path(__file__).parents[1]
# in a wheel the package has the folder; in a checkout it stands beside src/
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"
COMPARED = (
    *("act", "seed", "ema_decay", "patience", "trainer.max_epochs", "trainer.precision"),
    *("trainer.gradient_clip_val", "trainer.accumulate_grad_batches"),
    *("model.", "data.", "task.", "optim.", "sched.", "augment."),
)
PARTS = ("model", "task", "optim", "sched")
EXTENDS_OR_LOOKS = ("trainer.max_epochs", "save_every_s", "resume")
CALL = re.compile(r"_\w+_")  # _target_, _partial_ and the other keys of hydra.utils.instantiate
Place = tuple[str, ...]  # keys from the config's root

# used in conf/train.yaml
OmegaConf.register_new_resolver("auto_precision", resolve_precision, replace=True)
OmegaConf.register_new_resolver("effective_batch_size", effective_batch_size, replace=True)


def compose_config(overrides: Iterable[str] = ()) -> DictConfig:
    """Compose the config that the command line would give, and check its settings.

    Raises:
        ValueError: An override uses a setting's old name, or a value that cannot work.
    """
    overrides = list(overrides)
    refuse_old_settings(overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("train", overrides))


def checked(cfg: DictConfig) -> DictConfig:
    """Return `cfg` after a check of its settings, as `check_settings` does it.

    Interpolations compute with settings, so these are checked before and after.
    """
    unresolved: Any = OmegaConf.to_container(cfg, resolve=False)
    check_settings(unresolved)
    check_settings(to_plain(cfg))
    return cfg


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a run's config in plain containers, resolved, without the settings of its sweep.

    They do not change the run, and `sweep.storage` may hold a password.
    """
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    return {key: value for key, value in config.items() if key != "sweep"}


def write(cfg: DictConfig, folder: Path) -> None:
    """Write the plain config into `folder`."""
    write_atomically(folder / CONFIG, OmegaConf.to_yaml(to_plain(cfg)))


def read(folder: Path) -> DictConfig:
    """Read the config of the run in `folder`.

    Raises:
        FileNotFoundError: There is no config.yaml: not a run folder.
        ValueError: It is not plain data, has a call that no file of conf/ has at that place, or is
            of version 0.1, whose settings had other names.
    """
    path = folder / CONFIG
    if not path.exists():
        raise FileNotFoundError(f"{folder} is no run folder: it has no {CONFIG}")
    content = read_plain_yaml(path)
    if "trial" in content:  # a key of every run until the settings of a sweep got a node
        raise ValueError(
            f"{path}: made by version 0.1, which this version cannot read; train the run again, or"
            f" use the commit that {folder / METRICS} names"
        )
    refuse_foreign_calls(content, path)
    cfg = OmegaConf.create(content)
    OmegaConf.set_struct(cfg, True)
    return checked(cfg)


def read_to_resume(folder: Path, overrides: Iterable[str]) -> DictConfig:
    """Read the config of the run in `folder`, changed by those overrides that a resume allows.

    Raises:
        ValueError: An override would make it another run.
    """
    cfg = read(folder)
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+~") not in EXTENDS_OR_LOOKS:
            raise ValueError(
                f"resume={folder} continues a run with its own settings: {key} cannot change."
                f" Allowed beside it: {', '.join(EXTENDS_OR_LOOKS[:-1])}"
            )
        if key != "resume":
            OmegaConf.update(cfg, key, OmegaConf.create(f"v: {value}").v)
    refuse_foreign_calls(to_plain(cfg), folder / CONFIG)
    return checked(cfg)


def refuse_foreign_calls(config: Mapping[str, Any], path: Path) -> None:
    """Check a config in plain containers, from the file `path`, before anything is instantiated.

    Raises:
        ValueError: It has a call that no config folder has at that place.
    """
    shipped = shipped_calls(config_folders())
    for place, value in calls(config):
        if value not in shipped.get(place, []):
            raise ValueError(
                f"{path}: {'.'.join(place)!r:.100} must not be {value!r:.100}: no file of conf/ has"
                " that there; use only a run folder that this project wrote"
            )


def calls(config: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Find every key in nested containers that `hydra.utils.instantiate` obeys, and its value."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if CALL.fullmatch(str(key)):
                yield (*place, str(key)), value
            yield from calls(value, (*place, str(key)))
    elif isinstance(config, list):
        for index, value in enumerate(config):
            yield from calls(value, (*place, f"[{index}]"))


def config_folders() -> list[Path]:
    """List the folders of config files whose `_target_`s may be called."""
    return [CONF]


def shipped_calls(folders: Sequence[Path]) -> dict[Place, list[Any]]:
    """List for each place of the composed config the values that the files in `folders` give it."""
    allowed: dict[Place, list[Any]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.yaml")):
            group = path.relative_to(folder).parent.parts
            if group[:1] == ("hydra",):
                continue
            text = path.read_text("utf-8")
            package = re.search(r"^# @package (\S+)", text, re.MULTILINE)
            names = package[1].split(".") if package else group
            place = tuple(name for name in names if name != "_global_")
            for where, value in calls(yaml.load(text, yaml.CSafeLoader), place):
                allowed.setdefault(where, []).append(value)
    return allowed


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to {"optim.lr": 0.01, ...}; lists and None become text."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            out |= flatten(value, f"{prefix}{key}.")
        else:
            to_plain = isinstance(value, bool | int | float | str)
            out[f"{prefix}{key}"] = value if to_plain else str(value)
    return out


def hparams(config: Mapping[str, Any]) -> dict[str, Any]:
    """Select the settings that can change a result, flat, for tables of runs.

    Parts are named by their class: {"model": "AlexNet", "model.norm": "lrn", ...}.
    """
    parts = {key: config.get(key) or {} for key in PARTS}
    classes = {k: p["_target_"].split(".")[-1] for k, p in parts.items() if "_target_" in p}
    return classes | {
        key: value
        for key, value in flatten(config).items()
        if key.startswith(COMPARED)
        and not key.endswith(("_target_", "_partial_", "data.root", "data.cache_dir", "data.seed"))
    }


def overridden_keys() -> set[str]:
    """Return the keys that this run's command line sets, a sweep's axes included."""
    if not HydraConfig.initialized():
        return set()
    return {text.lstrip("+").split("=")[0] for text in HydraConfig.get().overrides.task}
