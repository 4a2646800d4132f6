"""The space that a command line sweeps over, in Hydra's grammar.

A space of choices and ranges is a grid. An interval in it makes it a search, whose values come
from a sampler.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hydra_study_sweeper.overrides import is_inert, key_of

RECIPE = "recipe"  # an axis whose values are named sets of overrides


@dataclass(frozen=True)
class TrialParams:
    """The parameters of a trial.

    Attributes:
        values: The value of each axis, as Hydra writes it.
        identity: A hash of the config that they give; equal for trials with equal results.
    """

    values: Mapping[str, str]
    identity: str


@dataclass
class Space:
    """The axes of a sweep, and the overrides that all its trials share.

    Attributes:
        fixed: The overrides that all trials share.
        choices: The values of each axis that has a list or a range. A key has Hydra's `+` if typed.
        intervals: The interval of each axis that a sampler chooses values for.
        recipes: The overrides that each value of the axis `recipe` stands for.
        order: All keys, in the order of a job's command line.
    """

    fixed: list[str] = field(default_factory=list)
    choices: dict[str, list[str]] = field(default_factory=dict)
    intervals: dict[str, IntervalSweep] = field(default_factory=dict)
    recipes: dict[str, list[str]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """The names of the axes, without Hydra's `+`."""
        return [key.lstrip("+") for key in (*self.choices, *self.intervals)]

    def overrides(self, values: Mapping[str, str]) -> list[str]:
        """Return the command line of the trial with these `values` of the axes."""
        recipe = self.recipes[values[RECIPE]] if self.recipes and RECIPE in values else []
        swept = [f"{key}={value}" for key, value in values.items()]
        typed = {override.partition("=")[0]: override for override in [*self.fixed, *swept]}
        known = [typed.pop(key) for key in self.order if key in typed]
        return [*known, *typed.values(), *recipe]

    def check(self, values: Mapping[str, str]) -> None:
        """Raise ValueError if `values` could call code and are not choices of this space.

        They come from a storage, which a stranger may have written, and become a command line.
        """
        for key, value in values.items():
            if value not in self.choices.get(key, ()) and not is_inert(f"{key}={value}"):
                raise ValueError(
                    f"the sweep's storage holds {f'{key}={value}'!r:.80}, which could run any code;"
                    " start a sweep with another name"
                )

    def grid(self) -> Iterator[dict[str, str]]:
        """Yield every combination of the choices in Hydra's order: the last axis varies fastest."""
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
    """Read the axes of the settings, then the overrides `scaled`, then the command line.

    A later one replaces an earlier one of the same key. A recipe changes nothing that the command
    line sets.

    Args:
        axes: The axes in the settings `params` and `axes`.
        arguments: The command line.
        loader: Hydra's config loader, which lists the options of a group.
        scaled: Overrides of a study at the chosen scale.
        recipes: The recipes of a study: {name: overrides}.

    Raises:
        ValueError: An axis has no value, or a recipe is unknown.
    """
    axes = axes or {}
    lines = [f"{key}={_axis_as_text(value)}" for key, value in axes.items()]
    for key, value in (scaled or {}).items():
        lines.append(f"{key}={_axis_as_text(value) if key in axes else _setting_as_text(value)}")
    parser = OverridesParser.create(config_loader=loader)
    typed = {o.get_key_element(): o for o in parser.parse_overrides(list(arguments))}
    parsed = {o.get_key_element(): o for o in parser.parse_overrides(lines)} | typed
    space = Space(
        order=[str(override.input_line).partition("=")[0] for override in parsed.values()]
    )
    for key, override in parsed.items():
        if isinstance(value := override.value(), IntervalSweep):
            space.intervals[key] = value
        elif override.is_sweep_override():
            space.choices[key] = list(dict.fromkeys(override.sweep_string_iterator()))
            if not space.choices[key]:
                raise ValueError(f"{override.input_line}: the axis has no value; give it some")
        elif key in axes:
            space.choices[key] = [override.get_value_element_as_str()]
        else:
            space.fixed.append(str(override.input_line))
    if recipes and RECIPE in space.choices:
        for name in space.choices[RECIPE]:
            if name not in recipes:
                known = ", ".join(recipes)
                raise ValueError(f"{RECIPE}={name}: unknown; choose from {known}")
            items = recipes[name].items()
            space.recipes[name] = [f"{k}={_setting_as_text(v)}" for k, v in items if k not in typed]
    return space


def with_axes(
    space: Space, names: Iterable[str], loader: ConfigLoader, config: DictConfig
) -> Space:
    """Return `space` with all of `names` as axes; each that it lacks becomes an axis of one value.

    That value is typed on the command line, or else it is the config's.

    Args:
        space: A grid.
        names: The axes that the sweep has had.
        loader: Hydra's config loader.
        config: The sweep's own config.
    """
    typed = {key_of(override): override for override in space.fixed if override[0] != "~"}
    composed = loader.load_sweep_config(config, space.fixed)
    choices: dict[str, list[str]] = {}
    for name in names:
        if name in space.keys:
            key = next(key for key in space.choices if key.lstrip("+") == name)
            choices[key] = space.choices[key]
        elif name in typed:
            key, _, value = typed[name].partition("=")
            choices[key] = [value]
        elif name in composed.hydra.runtime.choices:
            choices[name] = [str(composed.hydra.runtime.choices[name])]
        # `typed` stands for "no such key": None may be a value
        elif (value := OmegaConf.select(composed, name, default=typed)) is not typed:
            choices[name] = [_setting_as_text(value)]
    fixed = [override for override in space.fixed if override.partition("=")[0] not in choices]
    return replace(space, fixed=fixed, choices=choices | space.choices)


def _axis_as_text(value: Any) -> str:
    """Write an axis of a study file ("a,b", [a, b] or one value) as on the command line."""
    if OmegaConf.is_list(value) or isinstance(value, list | tuple):
        return ",".join(str(v) for v in value)
    return str(value)


def _setting_as_text(value: Any) -> str:
    """Write a setting of a study file as on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if OmegaConf.is_list(value) or isinstance(value, list | tuple):
        return f"[{','.join(_setting_as_text(v) for v in value)}]"
    return str(value)


def split_into_stages(
    params: Sequence[TrialParams], axis: str, counts: Sequence[int]
) -> list[list[TrialParams]]:
    """Split the trials of a grid into stages, by the position of their value on one axis.

    Args:
        params: Of all trials of the grid.
        axis: The axis, such as `seed`; a grid without it is one stage.
        counts: How many values of the axis each stage ends with, increasing. The last stage ends
            with all of them.
    """
    values = list(dict.fromkeys(one.values.get(axis) for one in params))
    limits = [*(n for n in counts if n < len(values)), len(values)]
    stages: list[list[TrialParams]] = [[] for _ in limits]
    for one in params:
        position = values.index(one.values.get(axis))
        stages[next(k for k, limit in enumerate(limits) if position < limit)].append(one)
    return stages


def folder_name(number: int, values: Mapping[str, str]) -> str:
    """Name a trial's folder, as in `3-act-tanh-seed-1`: letters, digits, `.` and `-` only."""
    short = {key: key.lstrip("+").replace("/", ".").split(".")[-1] for key in values}
    names = list(short.values())
    words = [
        f"{name if names.count(name) == 1 else key}-{value}"
        for (key, value), name in zip(values.items(), names, strict=True)
    ]
    text = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-")
    if len(text) > 80:
        text = f"{text[:70].rstrip('-.')}-{short_hash(values)[:6]}"
    return f"{number}-{text}" if text else str(number)


def short_hash(content: Any) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of plain `content`."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
