"""Hydra overrides as text: their keys, quoting, and which of them can run no code.

Hydra imports this file in every process.
"""

import re

from hydra.core.override_parser.types import Quote, QuotedString


def key_of(override: str) -> str:
    """Return the key of `KEY=VALUE`, without Hydra's prefixes `+`, `++` and `~`."""
    return override.partition("=")[0].lstrip("+~")


def quote(value: str) -> str:
    """Return `value` so that Hydra's grammar reads it back, whatever it contains."""
    return QuotedString(text=str(value), quote=Quote.single).with_quotes()


def is_inert(override: str) -> bool:
    """Return whether `override` sets no key of Hydra, calls nothing and reads no file by a path.

    It has no interpolation, no key such as `_target_`, and no `..`, however they are quoted.
    """
    bare = re.sub(r"[\\'\"]", "", override)
    key = key_of(bare)
    foreign = re.search(r"\$|\.\.|(?<!\w)_\w+_(?!\w)", bare)
    return re.fullmatch(r"\w+([./@:-]\w+)*", key) is not None and not (
        foreign or key.startswith("hydra")
    )
