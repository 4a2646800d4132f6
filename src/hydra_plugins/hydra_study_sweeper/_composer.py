"""Compose each trial's config as Hydra would, and hash it to the trial's identity.

The identity is a hash of the whole config without the keys that cannot change a result. Composing
with Hydra costs 100 ms, so it is done once per combination of group choices and dictionaries; the
other values of a trial are then written into that config, and `_resolution` resolves the values
that they change.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.hydra_study_sweeper._resolution import Resolution
from hydra_plugins.hydra_study_sweeper._space import RECIPE, Space, TrialParams, short_hash


class Composer:
    """Composes the configs of a sweep's trials.

    Args:
        loader: Hydra's config loader.
        config: The sweep's own config.
        space: The axes and the fixed overrides.
        ignore: Keys that cannot change a result.
        resolve: Function(config) -> {key: value} of the settings that depend on the machine.
    """

    def __init__(
        self,
        loader: ConfigLoader,
        config: DictConfig,
        space: Space,
        ignore: Sequence[str],
        resolve: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
    ) -> None:
        self._machine_settings = resolve or (lambda config: {})
        self.loader, self.config, self.space = loader, config, space
        self.ignore = [*ignore, *([RECIPE] if space.recipes else [])]  # a recipe is only a name
        self.axes = [*space.choices, *space.intervals]
        self.groups = [
            key
            for key in self.axes
            if (space.recipes and key == RECIPE)
            or loader.get_group_options(key.lstrip("+").split("@")[0], ObjectType.CONFIG)
        ]
        self._composed: dict[Any, DictConfig] = {}
        self._resolutions: dict[Any, Resolution] = {}
        self._parsed: dict[str, Any] = {}

    def params(self, values: Mapping[str, str]) -> TrialParams:
        """Return the parameters of the trial with these `values` of the axes.

        Raises:
            ConfigCompositionException: A key of an axis is not in the config.
        """
        return TrialParams(dict(values), short_hash(self.compose_for_hash(values)))

    def compose_for_hash(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Compose and resolve the config at `values`, without keys that cannot change a result."""
        return drop_keys(self.compose(values), self.ignore)

    def compose(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Compose and resolve the config at `values`, without Hydra's own node.

        Settings that depend on the machine have the values of this one.
        """
        content = self._compose_for_any_machine(values)
        for key, value in self._machine_settings(content).items():
            *path, last = key.split(".")
            node = content
            for part in path:
                node = node[part]
            node[last] = value
        return content

    def overrides(self, values: Mapping[str, str]) -> list[str]:
        """Return the command line of the trial at `values`.

        It names the settings that depend on the machine, so another machine runs the same trial.
        """
        resolved = self._machine_settings(self._compose_for_any_machine(values))
        return [*self.space.overrides(values), *(f"{k}={v}" for k, v in resolved.items())]

    def _compose_for_any_machine(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Compose the config at `values`; settings that depend on the machine stay as written."""
        written = {key: text for key, text in values.items() if not self._is_composed(key, text)}
        chosen = tuple(item for item in values.items() if item[0] not in written), tuple(written)
        cfg = self._compose_groups(chosen, values)
        for key, text in written.items():
            OmegaConf.update(cfg, key.lstrip("+"), self._parse(key, text), merge=False)
        if chosen not in self._resolutions:
            keys = [key.lstrip("+") for key in written]
            self._resolutions[chosen] = Resolution(cfg, keys)
        return self._resolutions[chosen].content()

    def _compose_groups(self, chosen: Any, values: Mapping[str, str]) -> DictConfig:
        """Return the cached config for the group choices of `values`.

        Its other axes have the values of an earlier trial; `_compose_for_any_machine` sets them.

        Args:
            chosen: The choices, and the keys of the other axes.
            values: The values of all axes.
        """
        if chosen not in self._composed:
            cfg = self.loader.load_sweep_config(self.config, self.space.overrides(values))
            OmegaConf.set_readonly(cfg, False)
            with open_dict(cfg):
                del cfg["hydra"]
            self._composed[chosen] = cfg
        return self._composed[chosen]

    def _is_composed(self, key: str, text: str) -> bool:
        """Return whether Hydra must compose a value, since it is a group choice or a dictionary."""
        return key in self.groups or text.startswith("{")

    def _parse(self, key: str, text: str) -> Any:
        """Parse the value of an override as Hydra does."""
        if re.fullmatch(r"-?(0|[1-9][0-9]*)", text):  # at once: Hydra's parser takes milliseconds
            return int(text)
        if (line := f"{key}={text}") not in self._parsed:
            override: Override = OverridesParser.create().parse_override(line)
            self._parsed[line] = override.value()
        return self._parsed[line]

    def base_config(self) -> dict[str, Any]:
        """Compose the config that all trials share; its interpolations stay as written."""
        try:
            fixed = self.loader.load_sweep_config(self.config, self.space.fixed)
        except ConfigCompositionException:  # a group that has no default is an axis
            values = next(self.space.grid())
            fixed = self.loader.load_sweep_config(self.config, self.space.overrides(values))
        content = OmegaConf.to_container(fixed, resolve=False)
        return drop_keys(content, ["hydra", *self.ignore])

    def folder_of_hydra(self, number: int, values: Mapping[str, str]) -> str:
        """Return the folder that `hydra.sweep.subdir` gives the trial with this number."""
        template = OmegaConf.to_container(self.config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload,index]
        if template == "${hydra.job.num}":  # Hydra's default: composing would take 100 ms per trial
            return str(number)
        cfg = self.loader.load_sweep_config(self.config, self.space.overrides(values))
        with open_dict(cfg):
            cfg.hydra.job.num = number
            cfg.hydra.job.id = f"{cfg.hydra.job.name}_{number}"
        return str(cfg.hydra.sweep.subdir)


def drop_keys(content: Any, keys: Sequence[str]) -> dict[str, Any]:
    """Remove `keys` from `content`, in place, and return it.

    A key is written as in an override: `a.b`, or the path of a group, with or without `@package`.
    """
    for key in keys:
        *path, last = key.lstrip("+").split("@")[0].replace("/", ".").split(".")
        node = content
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    result: dict[str, Any] = content
    return result


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """List where two plain configs differ, one line per key: `key: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted({*old, *new}, key=str)
            for line in differences(
                old.get(key, "absent"),
                new.get(key, "absent"),
                f"{prefix}.{key}" if prefix else str(key),
            )
        ]
    return [] if old == new else [f"{prefix}: {old} -> {new}"]
