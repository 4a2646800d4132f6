"""Resolve a composed config again after some values have changed, in a tenth of OmegaConf's time.

OmegaConf takes 2 ms to resolve a whole config, mostly for interpolations that have the same value
in every trial of a sweep. Their texts show which of them can change: an interpolation that depends
on none of the changed keys is resolved only once.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer

INNERMOST = re.compile(r"\$\{([^{}$]*)\}")
ODD = ""  # replaces keys that are not plain names, such as `a.b`
INNER = "\0"  # replaces an interpolation that has been read
PLAIN_KEY = re.compile(r"[\w-]+")
READS_CONFIG = {"pass_root", "pass_parent", "pass_node"}  # flags of a resolver of the config


class Resolution:
    """Resolve `cfg` repeatedly, while only its values at `keys` change.

    Args:
        cfg: The config; the caller changes its values.
        keys: The keys whose values may change, as in `optim.lr`.

    Raises:
        Exception: An error of OmegaConf, if an interpolation cannot be resolved.
    """

    def __init__(self, cfg: DictConfig, keys: Collection[str]) -> None:
        self.cfg = cfg
        self.first: Any = OmegaConf.to_container(cfg, resolve=True)
        self.same: dict[str, str] = {}  # key -> the changed key that is its whole value
        self.changing = self._changing(keys)

    def _changing(self, keys: Collection[str]) -> list[str] | None:
        """Return the keys whose values may change; None if they are not known."""
        leaves = dict(_leaves(OmegaConf.to_container(self.cfg, resolve=False)))
        if ODD in leaves or not set(keys) <= leaves.keys():  # in a list, a dictionary, or odd
            return None
        references = {key: _references(key, v) for key, v in leaves.items() if "${" in str(v)}
        found = {key for key in references if self._reaches(key, keys, references, set())}
        texts = {f"${{{key}}}": key for key in keys}
        plain = {key: str(leaves[key]) for key in found - set(keys)}
        self.same = {key: texts[text] for key, text in plain.items() if text in texts}
        return [*keys, *sorted(found - set(keys))]

    def _reaches(
        self,
        key: str,
        changed: Collection[str],
        references: dict[str, set[str] | None],
        seen: set[str],
    ) -> bool:
        """Return whether the value at `key` may depend on a changed value."""
        seen.add(key)
        referred = references[key]
        if referred is None:
            return True
        for one in referred:
            if any(_is_near(one, other) for other in changed):
                return True
            nested = [other for other in references if _is_near(one, other) and other not in seen]
            if any(self._reaches(other, changed, references, seen) for other in nested):
                return True
        return False

    def content(self) -> dict[str, Any]:
        """Return the content resolved with the current values, as dictionaries and lists."""
        if self.changing is None:
            whole: Any = OmegaConf.to_container(self.cfg, resolve=True)
            return dict(whole)
        content = _copy(self.first)
        for key in self.changing:
            value = OmegaConf.select(self.cfg, self.same.get(key, key))
            node, last = content, key
            while "." in last:
                part, _, last = last.partition(".")
                node = node[part]
            is_config = OmegaConf.is_config(value)
            node[last] = OmegaConf.to_container(value, resolve=True) if is_config else value
        result: dict[str, Any] = content
        return result


def _leaves(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the key and value of each node without nodes below it; odd keys become `ODD`."""
    if not isinstance(content, dict):  # a list counts as one value
        yield prefix, content
        return
    for key, value in content.items():
        if not isinstance(key, str) or not PLAIN_KEY.fullmatch(key):
            yield ODD, value
        else:
            yield from _leaves(value, f"{prefix}.{key}" if prefix else key)


def _references(key: str, value: Any) -> set[str] | None:
    """Return the keys that the interpolations in `value` name; None if they may read others.

    Relative names are those of neighbours of `key`.
    """
    text, found = str(value), set()
    if "\\" in text or isinstance(value, list):
        return None
    while match := INNERMOST.search(text):
        name, colon, _ = match[1].partition(":")
        if colon:
            if INNER in name or not _reads_only_arguments(name.strip()):
                return None
        elif not re.fullmatch(r"\.?[\w-]+(\.[\w-]+)*", name.strip()):  # `..key`, `key[0]`, ...
            return None
        else:
            parent = key.rpartition(".")[0]
            name = name.strip()
            found.add(f"{parent}{name}".lstrip(".") if name.startswith(".") else name)
        text = text[: match.start()] + INNER + text[match.end() :]
    return None if "${" in text else found


def _reads_only_arguments(resolver: str) -> bool:
    """Return whether a resolver reads only its arguments, and nothing else of the config.

    OmegaConf has no public function for this. Its flags are in the closure of the function that it
    stores in the private `_resolvers`. A resolver without these flags counts as one that reads the
    config.
    """
    function: Any = BaseContainer._resolvers.get(resolver)
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    if not set(names) >= READS_CONFIG:
        return False
    cells = dict(zip(names, function.__closure__, strict=True))
    return not any(cells[name].cell_contents for name in READS_CONFIG)


def _is_near(one: str, other: str) -> bool:
    """Return whether two keys are equal, or one is below the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _copy(content: Any) -> Any:
    """Copy dictionaries and lists of plain values."""
    if isinstance(content, dict):
        return {key: _copy(value) for key, value in content.items()}
    return [_copy(value) for value in content] if isinstance(content, list) else content
