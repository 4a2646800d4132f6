"""The composed config of each cell, as Hydra would make it, and the identity that it gives a cell.

The identity is a hash of the whole config without what cannot change a result. Composing through
Hydra costs 100 ms, so it is done once per combination of group choices; the other values of a cell
are then written into that config.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.hydra_study_sweeper._space import RECIPE, Cell, Space, digest


class Composer:
    """Cells' composed configs, as Hydra would compose them."""

    def __init__(
        self, loader: ConfigLoader, config: DictConfig, space: Space, ignore: Sequence[str]
    ) -> None:
        self.loader, self.config, self.space = loader, config, space
        self.ignore = [*ignore, *([RECIPE] if space.recipes else [])]  # it is only a name
        self.axes = [*space.choices, *space.intervals]
        self.groups = [
            key
            for key in self.axes
            if (space.recipes and key == RECIPE)
            or loader.get_group_options(key.lstrip("+").split("@")[0], ObjectType.CONFIG)
        ]
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._parsed: dict[str, Any] = {}

    def cell(self, values: Mapping[str, str]) -> Cell:
        """The cell at `values`.

        Raises:
            ConfigCompositionException: A key of an axis is not in the config.
        """
        return Cell(dict(values), digest(self.resolved(values)))

    def resolved(self, values: Mapping[str, str]) -> dict[str, Any]:
        """The composed, resolved config at `values`, without what cannot change a result."""
        return without(self.full(values), self.ignore)

    def full(self, values: Mapping[str, str]) -> dict[str, Any]:
        """The composed, resolved config at `values`, without Hydra's own part."""
        cfg = self._group(values)
        for key, text in values.items():
            if key not in self.groups:
                OmegaConf.update(cfg, key.lstrip("+"), self._value(key, text), merge=False)
        content: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
        return content

    def unresolved(self) -> dict[str, Any]:
        """What all cells share: the composed config without the axes, interpolations as written."""
        fixed = self.loader.load_sweep_config(self.config, self.space.fixed)
        content = OmegaConf.to_container(fixed, resolve=False)
        return without(content, ["hydra", *self.ignore])

    def _group(self, values: Mapping[str, str]) -> DictConfig:
        """The config composed for the group choices among `values`; its other values are free."""
        chosen = tuple(values[key] for key in self.groups)
        if chosen not in self._composed:
            cfg = self.loader.load_sweep_config(self.config, self.space.overrides(values))
            OmegaConf.set_readonly(cfg, False)
            with open_dict(cfg):
                del cfg["hydra"]
            self._composed[chosen] = cfg
        return self._composed[chosen]

    def _value(self, key: str, text: str) -> Any:
        if re.fullmatch(r"-?(0|[1-9][0-9]*)", text):  # as Hydra's parser, which takes milliseconds
            return int(text)
        if (line := f"{key}={text}") not in self._parsed:
            override: Override = OverridesParser.create().parse_override(line)
            self._parsed[line] = override.value()
        return self._parsed[line]


def without(content: Any, keys: Sequence[str]) -> dict[str, Any]:
    """`content` less the dotted `keys`, in place."""
    for key in keys:
        *path, last = key.lstrip("+").split("@")[0].replace("/", ".").split(".")
        node = content
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    result: dict[str, Any] = content
    return result


def differences(old: Any, new: Any, at: str = "") -> list[str]:
    """Where two plain configs differ, one line each: `key: old -> new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new}, key=str)
        return [
            line
            for key in keys
            for line in differences(
                old.get(key, "absent"), new.get(key, "absent"), f"{at}.{key}" if at else str(key)
            )
        ]
    return [] if old == new else [f"{at}: {old} -> {new}"]
