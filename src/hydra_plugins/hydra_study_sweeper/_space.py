"""What a command line sweeps over, in Hydra's grammar.

A space of choices and ranges is a grid. An interval in it makes it a search, whose cells come from
a sampler.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Quote, QuotedString
from omegaconf import OmegaConf

RECIPE = "recipe"  # an axis of named sets of overrides


@dataclass(frozen=True)
class Cell:
    """One point of the space: the swept values as Hydra writes them, and what they amount to."""

    values: Mapping[str, str]
    identity: str


@dataclass
class Space:
    """What a command line sweeps over, and what it fixes.

    A value of the axis `recipe` stands for several overrides, those in `recipes`.
    """

    fixed: list[str] = field(default_factory=list)
    choices: dict[str, list[str]] = field(default_factory=dict)
    intervals: dict[str, IntervalSweep] = field(default_factory=dict)
    recipes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """The axes, without Hydra's `+`."""
        return [key.lstrip("+") for key in (*self.choices, *self.intervals)]

    def overrides(self, values: Mapping[str, str]) -> list[str]:
        """The command line of the cell at `values`."""
        recipe = self.recipes[values[RECIPE]] if self.recipes and RECIPE in values else []
        return [*self.fixed, *recipe, *(f"{key}={value}" for key, value in values.items())]

    def check(self, values: Mapping[str, str]) -> None:
        """Raise ValueError if `values` could call code and are not choices of this space.

        A storage keeps them, perhaps a stranger's, and they become a command line.
        """
        for key, value in values.items():
            if value not in self.choices.get(key, ()) and not is_inert(f"{key}={value}"):
                raise ValueError(
                    f"the sweep's storage holds {f'{key}={value}'!r:.80}, which could run any code;"
                    " start a sweep with another name"
                )

    def grid(self) -> Iterator[dict[str, str]]:
        """Every combination of the choices, in Hydra's order: the last axis changes fastest."""
        for values in itertools.product(*self.choices.values()):
            yield dict(zip(self.choices, values, strict=True))


def read_space(
    axes: Mapping[str, Any] | None,
    arguments: Sequence[str],
    loader: ConfigLoader,
    *,
    scaled: Mapping[str, Any] | None = None,
    recipes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Space:
    """Read a study's `axes`, then what `scaled` makes of them, then the command line.

    Each narrows, replaces or adds to what is before it; what the command line fixes, no recipe
    changes.
    """
    axes = axes or {}
    lines = [f"{key}={_as_text(value)}" for key, value in axes.items()]
    for key, value in (scaled or {}).items():
        lines.append(f"{key}={_as_text(value) if key in axes else as_value(value)}")
    parser = OverridesParser.create(config_loader=loader)
    typed = {o.get_key_element(): o for o in parser.parse_overrides(list(arguments))}
    parsed = {o.get_key_element(): o for o in parser.parse_overrides(lines)} | typed
    space = Space()
    for key, override in parsed.items():
        if isinstance(value := override.value(), IntervalSweep):
            space.intervals[key] = value
        elif override.is_sweep_override():
            space.choices[key] = list(dict.fromkeys(override.sweep_string_iterator()))
            if not space.choices[key]:
                raise ValueError(f"the axis {override.input_line} has no value")
        elif key in axes:
            space.choices[key] = [override.get_value_element_as_str()]
        else:
            space.fixed.append(str(override.input_line))
    if recipes and RECIPE in space.choices:
        for name in space.choices[RECIPE]:
            if name not in recipes:
                known = ", ".join(recipes)
                raise ValueError(f"{RECIPE}={name} is none of this study's; known: {known}")
            items = recipes[name].items()
            space.recipes[name] = [f"{k}={as_value(v)}" for k, v in items if k not in typed]
    return space


def _as_text(value: Any) -> str:
    """An axis of a study file as on the command line: "a,b", [a, b] or a single value."""
    if OmegaConf.is_list(value) or isinstance(value, list | tuple):
        return ",".join(str(v) for v in value)
    return str(value)


def as_value(value: Any) -> str:
    """A setting of a study file as on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if OmegaConf.is_list(value) or isinstance(value, list | tuple):
        return f"[{','.join(as_value(v) for v in value)}]"
    return str(value)


def is_inert(override: str) -> bool:
    """Whether `override` sets nothing of Hydra, calls nothing and reads no config file by a path.

    It has no interpolation, no key such as `_target_`, and no `..`, however they are quoted.
    """
    bare = re.sub(r"[\\'\"]", "", override)
    key = bare.partition("=")[0].lstrip("+~")
    foreign = re.search(r"\$|\.\.|(?<!\w)_\w+_(?!\w)", bare)
    return re.fullmatch(r"\w+([./@:-]\w+)*", key) is not None and not (
        foreign or key.startswith("hydra")
    )


def folder_name(number: int, values: Mapping[str, str]) -> str:
    """`3-act-tanh-seed-1`: letters, digits, `.` and `-`, so that it needs no quoting anywhere."""
    short = {key: key.lstrip("+").replace("/", ".").split(".")[-1] for key in values}
    names = list(short.values())
    words = [
        f"{name if names.count(name) == 1 else key}-{value}"
        for (key, value), name in zip(values.items(), names, strict=True)
    ]
    text = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-")
    if len(text) > 80:
        text = f"{text[:70].rstrip('-.')}-{digest(values)[:6]}"
    return f"{number}-{text}" if text else str(number)


def digest(content: Any) -> str:
    """A short name for plain `content`."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def quoted(value: str) -> str:
    """`value` as Hydra's grammar reads it back, whatever it contains."""
    return QuotedString(text=str(value), quote=Quote.single).with_quotes()
