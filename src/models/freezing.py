"""Which layers of a trained net stay as they are."""

from collections.abc import Sequence

from torch import nn

from src.choices import choose

FREEZE = dict.fromkeys(("all", "none", "all_but_last_k"))


def freeze_layers(net: nn.Module, policy: str | Sequence[str], k: int) -> list[nn.Module]:
    """Stop the gradients of a part of `net`; returns the frozen layers that have parameters.

    Raises:
        ValueError: unknown policy, k out of range, or a name that `net` has no part for.
    """
    layers = {n: m for n, m in net.named_modules() if list(m.parameters(recurse=False))}
    if isinstance(policy, str):
        choose("freeze", policy, FREEZE)
        every = list(layers.values())
        first_free = _first_of_last(k, every) if policy == "all_but_last_k" else len(every)
        chosen = [] if policy == "none" else every[:first_free]
    else:
        starts = tuple(f"{part}." for part in policy)
        unknown = [s[:-1] for s in starts if not any(f"{n}.".startswith(s) for n in layers)]
        if unknown:
            known = ", ".join(dict.fromkeys(".".join(n.split(".")[:2]) for n in layers))
            raise ValueError(f"freeze: no part is called {', '.join(unknown)} (there are: {known})")
        chosen = [layer for name, layer in layers.items() if f"{name}.".startswith(starts)]
    for layer in chosen:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(False)
    return chosen


def _first_of_last(k: int, layers: list[nn.Module]) -> int:
    weighted = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d | nn.Linear)]
    if not 0 < k <= len(weighted):
        raise ValueError(f"k={k} must be 1 to {len(weighted)}: the backbone's convolutions")
    return weighted[-k]
