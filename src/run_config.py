"""A run's config.yaml, written plain and read back with suspicion.

A folder from somebody else may name any function as a `_target_`; only those that conf/ itself
ships are ever called.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from src.run_folder import CONFIG, write_atomically

CONF = Path(__file__).parents[1] / "conf"
COMPARED = (
    *("act", "seed", "ema_decay", "patience", "trainer.max_epochs", "trainer.precision"),
    *("trainer.gradient_clip_val", "trainer.accumulate_grad_batches"),
    *("model.", "data.", "task.", "optim.", "sched.", "augment."),
)
PARTS = ("model", "task", "optim", "sched")
EXTENDS_OR_LOOKS = ("trainer.max_epochs", "save_every_s", "resume")


def composed(overrides: Iterable[str] = ()) -> DictConfig:
    """The config that the command line would give."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides))


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The config in plain containers, resolved; without the sweep's storage, maybe a secret."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    return {**config, "trial": None}


def write(cfg: DictConfig, folder: Path) -> None:
    """Write the plain config into `folder`."""
    write_atomically(folder / CONFIG, OmegaConf.to_yaml(plain(cfg)))


def read(folder: Path) -> DictConfig:
    """The config of the run in `folder`.

    Raises:
        FileNotFoundError: There is no config.yaml: not a run folder.
        ValueError: It names a `_target_` that conf/ does not ship.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no run folder: it has no {CONFIG}")
    cfg = OmegaConf.create(path.read_text("utf-8"))
    if not isinstance(cfg, DictConfig):
        raise ValueError(f"{path} is not a run's config: it holds no settings")
    foreign = set(targets(OmegaConf.to_container(cfg))) - shipped_targets()
    if foreign:
        raise ValueError(
            f"{path} wants to call {', '.join(sorted(foreign))}, which no file in conf/ does:"
            " it is not run"
        )
    OmegaConf.set_struct(cfg, True)
    return cfg


def to_resume(folder: Path, overrides: Iterable[str]) -> DictConfig:
    """The config of the run in `folder`, with those overrides that may change when it goes on.

    Raises:
        ValueError: An override would make it another run.
    """
    cfg = read(folder)
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+~") not in EXTENDS_OR_LOOKS:
            raise ValueError(
                f"resume={folder} goes on with the run as it was: {key} cannot change."
                f" Allowed beside it: {', '.join(EXTENDS_OR_LOOKS[:-1])}"
            )
        if key != "resume":
            OmegaConf.update(cfg, key, OmegaConf.create(f"v: {value}").v)
    return cfg


def targets(config: Any) -> Iterator[str]:
    """Every `_target_` in nested containers."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key == "_target_":
                yield str(value)
            yield from targets(value)
    elif isinstance(config, list):
        for value in config:
            yield from targets(value)


def shipped_targets() -> set[str]:
    """Every `_target_` that stands in conf/."""
    line = re.compile(r"^\s*_target_:\s*([\w.]+)", re.MULTILINE)
    return {name for path in CONF.rglob("*.yaml") for name in line.findall(path.read_text("utf-8"))}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"optim.lr": 0.01, ...}; lists and None as text."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{key}.")
        else:
            plain = isinstance(value, bool | int | float | str)
            out[f"{prefix}{key}"] = value if plain else str(value)
    return out


def hparams(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that can change a result, flat: what a table of runs compares.

    Parts are named by their class: {"model": "AlexNet", "model.norm": "lrn", ...}.
    """
    parts = {key: config.get(key) or {} for key in PARTS}
    classes = {k: p["_target_"].split(".")[-1] for k, p in parts.items() if "_target_" in p}
    return classes | {
        key: value
        for key, value in flat(config).items()
        if key.startswith(COMPARED)
        and not key.endswith(("_target_", "_partial_", "data.root", "data.cache_dir", "data.seed"))
    }


def chosen() -> set[str]:
    """The keys that this run's command line sets, a sweep's axes included."""
    if not HydraConfig.initialized():
        return set()
    return {text.lstrip("+").split("=")[0] for text in HydraConfig.get().overrides.task}
