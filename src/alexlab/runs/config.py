"""Compose configs; write config.yaml resolved, and check every `_target_` when reading it.

An untrusted folder may have any function as a `_target_`. At each place of the config only the
functions are allowed that the files of conf/ have at that place.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from alexlab.errors import refuse_old_settings, suggest_setting
from alexlab.performance.devices import effective_batch_size, resolve_precision
from alexlab.runs import extensions
from alexlab.runs.folder import BEST, CONFIG, HISTORY, LAST, METRICS, write_atomically
from alexlab.runs.settings import check_settings
from hydra_plugins.hydra_study_sweeper.config import StudySweeperConf
from hydra_plugins.hydra_study_sweeper.overrides import key_of, quote
from hydra_plugins.hydra_study_sweeper.run_folder import read_plain_yaml
from hydra_plugins.hydra_study_sweeper.sweep_folder import SWEEP, TRIALS, read_sweep

PACKAGE = Path(__file__).parents[1]
# in a wheel conf/ is in the package; in a checkout it is next to src/
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"
COMPARED = (
    *("act", "seed", "ema_decay", "patience", "trainer.max_epochs", "trainer.precision"),
    *("trainer.gradient_clip_val", "trainer.accumulate_grad_batches"),
    *("model.", "data.", "task.", "optim.", "sched.", "augment."),
)
PARTS = ("model", "task", "optim", "sched")
MAIN = ("model", "data", "act", "optim", "optim.lr", "data.batch_size", "seed")
NOT_OF_RUNS = ("defaults", "hydra", "sweep")  # keys of conf/train.yaml
# settings that a resume may change; other changes would make it another run
MAY_CHANGE = ("trainer.max_epochs", "save_every_s", "data.root", "resume")
CALL = re.compile(r"_\w+_")  # _target_, _partial_ and the other keys of hydra.utils.instantiate
Place = tuple[str, ...]  # the keys that lead to a value from the root of a config


def _effective_batch_size(batch_size: Any, trainer: DictConfig) -> int:
    """Check the settings that determine `effective_batch_size`, and return it."""
    names = ("devices", "accelerator", "num_nodes", "accumulate_grad_batches")
    used = OmegaConf.create({name: trainer[name] for name in names if name in trainer})
    plain: Any = OmegaConf.to_container(used)
    data = {"_target_": "alexlab.data", "batch_size": batch_size}
    check_settings({"trainer": plain, "data": data})
    return effective_batch_size(batch_size, plain)


# resolvers in conf/train.yaml
OmegaConf.register_new_resolver("auto_precision", resolve_precision, replace=True)
OmegaConf.register_new_resolver("effective_batch_size", _effective_batch_size, replace=True)


def compose_config(
    overrides: Iterable[str] = (), *, check: bool = True, with_hydra: bool = False
) -> DictConfig:
    """Compose the config for the overrides of a command line, and check its settings if `check`.

    `with_hydra` keeps the node `hydra`, which has the folder of the run.

    Raises:
        ValueError: If an override uses an old name or an unknown key, or a value cannot work.
    """
    overrides = list(overrides)
    refuse_old_settings(overrides)
    if _config_dirs:
        places = ",".join(quote(f"file://{folder}") for folder in _config_dirs)
        overrides = [f"hydra.searchpath=[{places}]", *overrides]
    extensions.register()
    if check:
        refuse_unread_keys(overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides, return_hydra_config=with_hydra)
    return checked(cfg) if check else cfg


def refuse_unread_keys(overrides: Sequence[str]) -> None:
    """Check that something reads each key that an override adds to the config with `+`.

    A key is read if its first part is a key or group of a config folder (those of installed
    packages count), or if the command or a config file refers to it, as in
    `+k=3 model.width=${k}`.

    Raises:
        ValueError: If nothing reads the key (the message has similar keys), or if the setting
            always has the value of another one.
    """
    known: set[str] = set()
    for override in overrides:
        key = key_of(override).partition(":")[0]
        _, renamed, package = key.partition("@")
        root, _, below = (package if renamed else key).replace("/", ".").partition(".")
        if key in FOLLOWS:
            raise ValueError(
                f"{override}: has no effect, since its value is that of {FOLLOWS[key]}; set"
                f" {FOLLOWS[key]}"
            )
        if not re.match(r"\+\+?\w", override) or root == "hydra":
            continue
        known = known or _root_keys()
        if root == "sweep" and below:
            is_read = below in _SWEEP_KEYS
        elif root in ("study", "scale") and below:
            is_read = any(key_of(one) == "study" for one in overrides)
        else:
            is_read = root in known or _refers_to(root, overrides)
        if not is_read:
            cfg: Any = OmegaConf.to_container(compose_config(check=False), resolve=False)
            names = [*flatten(cfg), *(known if "." not in key else ())]
            hint = suggest_setting(key, names) or "; remove it"
            raise ValueError(f"{override}: nothing reads a setting of this name{hint}")


FOLLOWS = {"data.seed": "seed", "data.cache_dir": "cache_dir"}
_SWEEP_KEYS = {one.name for one in fields(StudySweeperConf)}


def _root_keys() -> set[str]:
    """Return the root keys of all config files, and the names of groups."""
    found = set()
    for folder in config_folders():
        found |= {path.parent.name for path in folder.glob("*/*.yaml")}
        for path in (*folder.glob("*.yaml"), *folder.glob("*/*.yaml")):
            text = path.read_text("utf-8")
            if path.parent == folder or "# @package _global_" in text:
                found |= {str(key) for key in yaml.load(text, yaml.CSafeLoader) or {}}
    return found - {"defaults"}


def _refers_to(key: str, overrides: Iterable[str]) -> bool:
    """Return whether an override or a config file has `key` in an interpolation."""
    files = (path for folder in config_folders() for path in folder.rglob("*.yaml"))
    texts = itertools.chain(overrides, (path.read_text("utf-8") for path in files))
    return any(re.search(rf"\$\{{[^}}]*\b{re.escape(key)}\b", text) for text in texts)


def checked(cfg: DictConfig) -> DictConfig:
    """Check the settings of `cfg` before and after its interpolations are resolved; return it."""
    unresolved: Any = OmegaConf.to_container(cfg, resolve=False)
    check_settings(unresolved)
    check_settings(to_plain(cfg))
    return cfg


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a run's resolved config in plain containers, without `sweep` (it may hold secrets)."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    return {key: value for key, value in config.items() if key != "sweep"}


def write(cfg: DictConfig, folder: Path) -> None:
    """Write the plain config to config.yaml in `folder`."""
    write_atomically(folder / CONFIG, OmegaConf.to_yaml(to_plain(cfg)))


def read(folder: Path) -> DictConfig:
    """Read the config of the run in `folder`.

    Raises:
        FileNotFoundError: If there is no config.yaml.
        ValueError: If it is not plain data, has a `_target_` that is not allowed at its place, or
            was written by version 0.1, whose settings had other names.
    """
    path = folder / CONFIG
    if not path.exists():
        raise FileNotFoundError(f"{folder} is not a run folder: it has no {CONFIG}")
    content = read_plain_yaml(path)
    if "trial" in content:  # a root key of every run of version 0.1
        raise ValueError(
            f"{path}: made by version 0.1, which this version cannot read; train the run again, or"
            f" use the commit that {folder / METRICS} names"
        )
    refuse_foreign_calls(content, path)
    cfg = OmegaConf.create(to_plain(checked(OmegaConf.create(with_defaults(content)))))
    OmegaConf.set_struct(cfg, True)
    return cfg


def with_defaults(content: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults of settings that did not exist when an older version wrote the config.

    These are settings of the root, the trainer and the data, and whole groups such as `augment`.
    Defaults that are interpolations are not resolved.
    """
    root = _load(CONF / "train.yaml")
    default = {k: v for one in root["defaults"] if isinstance(one, dict) for k, v in one.items()}
    filled = {key: value for key, value in root.items() if key not in NOT_OF_RUNS}
    for part in ("model", "optim", "sched", "augment"):
        filled[part] = _option(part, default[part])
    filled |= _option("task", default["task"])
    filled["logger"] = _option("logger", *default["logger"])
    data = content.get("data") or {}
    options = [_option("data", path.stem) for path in sorted(CONF.glob("data/*.yaml"))]
    same = (option for option in options if option["_target_"] == data.get("_target_"))
    filled["data"] = {**next(same, {}), **data} if data else _option("data", default["data"])
    filled["trainer"] = {**filled["trainer"], **(content.get("trainer") or {})}
    return {**filled, **content, "trainer": filled["trainer"], "data": filled["data"]}


def _option(group: str, name: str) -> dict[str, Any]:
    """Read an option of a config group, merged over the options in its list of defaults."""
    content = _load(CONF / group / f"{name}.yaml")
    merged: dict[str, Any] = {}
    for base in content.pop("defaults", []):
        merged |= {} if base == "_self_" else _option(group, base)
    return merged | content


def _load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(path.read_text("utf-8"), yaml.CSafeLoader) or {}
    return content


def read_to_resume(folder: Path, overrides: Iterable[str]) -> DictConfig:
    """Read the config of the run in `folder`, and apply the overrides that a resume allows.

    Raises:
        ValueError: If an override would make it another run.
    """
    cfg = read(folder)
    for override in overrides:
        key = key_of(override)
        if key not in MAY_CHANGE:
            raise ValueError(
                f"{override}: resume={folder} continues a run with its own settings; you can change"
                f" only {', '.join(MAY_CHANGE[:-1])}"
            )
        if key != "resume":
            (parsed,) = OverridesParser.create().parse_overrides([override])
            OmegaConf.update(cfg, key, parsed.value(), merge=False)
    refuse_foreign_calls(to_plain(cfg), folder / CONFIG)
    return checked(cfg)


def refuse_other_run(cfg: DictConfig, folder: Path) -> None:
    """Check that `folder` does not hold another run than that of `cfg`.

    Raises:
        ValueError: If it holds another run (the message lists differences) or a sweep.
    """
    if any((folder / name).exists() for name in (SWEEP, TRIALS)):
        raise ValueError(f"{folder} is the folder of a sweep; choose another hydra.run.dir")
    if not (folder / CONFIG).exists():
        others = [name for name in (METRICS, HISTORY, LAST, BEST) if (folder / name).exists()]
        if others:
            raise ValueError(
                f"{folder} has {others[0]} of another run, without its {CONFIG};"
                " choose another hydra.run.dir"
            )
        return
    now, before = flatten(to_plain(cfg)), flatten(to_plain(read(folder)))
    if now["trainer.precision"] == "auto":
        now["trainer.precision"] = resolve_precision(now["trainer.accelerator"])
    differ = [
        f"{key} {before.get(key, 'absent')} -> {now.get(key, 'absent')}"
        for key in {**before, **now}
        if before.get(key) != now.get(key) and not _is_ignored(key)
    ]
    if differ:
        more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
        raise ValueError(
            f"{folder} holds another run ({', '.join(differ[:3])}{more}); choose another"
            f" hydra.run.dir, or continue that run with resume={folder}"
        )


def settings_of_run(cfg: DictConfig) -> dict[str, Any]:
    """Return the flat settings that can change a result, and that a resume must not change."""
    flat = flatten(to_plain(cfg))
    return {k: v for k, v in flat.items() if k not in MAY_CHANGE and not _is_ignored(k)}


def _is_ignored(key: str) -> bool:
    """Return whether a setting cannot change a result."""
    return any(key == name or key.startswith(f"{name}.") for name in _ignored_keys())


@cache
def _ignored_keys() -> tuple[str, ...]:
    """Return the settings that cannot change a result, from the sweeper's config."""
    content = yaml.load((CONF / "hydra/sweeper/study.yaml").read_text("utf-8"), yaml.CSafeLoader)
    return tuple(content["ignore"])


def find_moved_data(cfg: DictConfig) -> None:
    """Set the folders of `cfg` that are not there to those of the same name below DATA_DIR.

    A run from another machine names its images by their place there.
    """
    before, now = Path(cfg.data_dir), Path(os.environ.get("DATA_DIR", "data"))
    for key in ("data.root", "model.weights_dir", "data_dir"):
        folder = OmegaConf.select(cfg, key)
        if folder and Path(folder).is_relative_to(before) and not Path(folder).is_dir():
            OmegaConf.update(cfg, key, str(now / Path(folder).relative_to(before)))


def refuse_foreign_calls(config: Mapping[str, Any], path: Path) -> None:
    """Check the calls in a plain config from the file `path`, before anything is instantiated.

    Raises:
        ValueError: If a call is not in a file of a config folder at the same place.
    """
    shipped = shipped_calls(config_folders())
    for place, value in calls(config):
        if value not in shipped.get(place, []):
            raise ValueError(
                f"{path}: {'.'.join(place)!r:.100} must not be {value!r:.100}: no file of conf/ has"
                " this value there. If it is from your own --config-dir, give the same"
                " --config-dir, or install its package; otherwise use only a run folder that this"
                " project wrote"
            )


def calls(config: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield place and value of each key in nested containers that `instantiate` interprets."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if CALL.fullmatch(str(key)):
                yield (*place, str(key)), value
            yield from calls(value, (*place, str(key)))
    elif isinstance(config, list):
        for index, value in enumerate(config):
            yield from calls(value, (*place, f"[{index}]"))


_config_dirs: list[Path] = []  # added by this user's commands


def add_config_dir(folder: str) -> None:
    """Use the config files in `folder`, as with Hydra's --config-dir, and trust their calls.

    Raises:
        ValueError: If the folder does not exist.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"--config-dir {folder}: no such folder")
    _config_dirs.append(Path(folder).absolute())


def config_folders() -> list[Path]:
    """List the trusted config folders: of the package, of extensions and of the command line."""
    of_hydra: list[Path] = []
    if HydraConfig.initialized():
        sources = HydraConfig.get().runtime.config_sources
        of_hydra = [Path(source.path) for source in sources if source.schema == "file"]
    return list(dict.fromkeys([CONF, *extensions.installed_folders(), *_config_dirs, *of_hydra]))


def shipped_calls(folders: Sequence[Path]) -> dict[Place, list[Any]]:
    """Return {place in the composed config: values of calls that files in `folders` have there}."""
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
    """Flatten nested settings to {"optim.lr": 0.01, ...}; lists and None become strings."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            out |= flatten(value, f"{prefix}{key}.")
        else:
            to_plain = isinstance(value, bool | int | float | str)
            out[f"{prefix}{key}"] = value if to_plain else str(value)
    return out


# ends of the names of settings that no table of runs shows: places, and what Hydra adds
NOT_SHOWN = (
    *("_target_", "_partial_", "data.root", "data.cache_dir", "data.seed"),
    "model.weights_dir",
)


def hparams(config: Mapping[str, Any]) -> dict[str, Any]:
    """Select the settings of `COMPARED`, as {"model": "AlexNet", "model.norm": "lrn", ...}."""
    parts = {key: config.get(key) or {} for key in PARTS}
    classes = {k: p["_target_"].split(".")[-1] for k, p in parts.items() if "_target_" in p}
    return classes | {
        key: value
        for key, value in flatten(config).items()
        if key.startswith(COMPARED) and not key.endswith(NOT_SHOWN)
    }


def shown_settings(config: Mapping[str, Any], sweep: Path | None) -> dict[str, Any]:
    """Select the settings that distinguish runs, flat, for TensorBoard's table of runs.

    For a trial they are the axes of its sweep and the settings of recipes. For a single run they
    are `MAIN` and the settings of its command line.

    Args:
        config: The run's config in plain containers.
        sweep: The sweep's folder; None for a single run.
    """
    known, overrides = hparams(config), list[str]()
    known["data"] = config["data"]["name"]
    if HydraConfig.initialized():
        known |= dict(HydraConfig.get().runtime.choices)
        overrides = [text.lstrip("+").split("=")[0] for text in HydraConfig.get().overrides.task]
    keys = _axes(sweep)
    if keys:  # any key of the config can be an axis
        known = flatten(config) | known
    shown = {key: known.get(key) for key in keys or [*MAIN, *overrides]}
    return {k: v for k, v in shown.items() if isinstance(v, bool | int | float | str)}


def _axes(sweep: Path | None) -> list[str]:
    """Return the axes of a sweep and the settings of its recipes; an empty list if unknown."""
    if sweep is None or not (sweep / SWEEP).is_file():
        return []
    content = read_sweep(sweep)
    axes, about = content.get("axes"), content.get("about")
    recipes = about.get("recipes") if isinstance(about, dict) and "recipe" in (axes or {}) else {}
    of_recipes = [key for one in (recipes or {}).values() if isinstance(one, dict) for key in one]
    return list(dict.fromkeys([*(axes or {}), *of_recipes]))
