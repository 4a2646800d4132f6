"""What a sweep was made with: kept in sweep.yaml, and refused when it differs the next time."""

import copy
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from hydra_plugins._study_composer import differences, without
from hydra_plugins._study_folder import read_plain_yaml
from hydra_plugins._study_settings import StudySweeperConf, directions, load
from hydra_plugins._study_space import Space
from hydra_plugins._study_storage import without_password


def signature(
    settings: StudySweeperConf, space: Space, shared: dict[str, Any], config: dict[str, Any]
) -> dict[str, Any]:
    """The command, and what must not change between two of it.

    Args:
        settings: The sweeper's.
        space: What is swept.
        shared: The config that all cells share.
        config: One cell's, for the project's fingerprint of it.
    """
    axes: dict[str, Any] = {key.lstrip("+"): list(v) for key, v in space.choices.items()}
    axes |= {
        key.lstrip("+"): f"interval({v.start}, {v.end}) {sorted(v.tags)}".strip()
        for key, v in space.intervals.items()
    }
    probe: Callable[[Any], Any] = load(settings.fingerprint) or (lambda config: {})
    about = settings.about
    if OmegaConf.is_config(about):
        about = OmegaConf.to_container(about, resolve=False)
    return {
        "command": command_line(),
        "storage": settings.storage and without_password(settings.storage),
        "directions": directions(settings.direction),
        "axes": axes,
        "search": bool(space.intervals),
        "fingerprint": probe(config),
        "scale": settings.suffix.lstrip("-") or "full",
        "about": about,
        "config": shared,
    }


def command_line() -> str:
    """The command that is running, as it may be kept."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["-m", spec.name] if spec is not None else [sys.argv[0]]
    return shlex.join(["python", *program, *map(without_password, sys.argv[1:])])


def refuse_what_differs(
    folder: Path, new: Mapping[str, Any], old: Mapping[str, Any] | None
) -> None:
    """Refuse to add to a sweep whose runs were made with another config, data or version.

    Raises:
        ValueError: With what differs between the sweep's signature and the `new` one. (That of the
            study is `old`; sweep.yaml counts more.)
    """
    if (path := folder / "sweep.yaml").exists():
        old = read_plain_yaml(path, interpolations=True)
    if not old:
        return
    axes = [*old["axes"], *new["axes"]]
    before, now = (without(copy.deepcopy(one["config"]), axes) for one in (old, new))
    both = old["fingerprint"].keys() & new["fingerprint"].keys()
    marks, marks_now = ({k: one["fingerprint"][k] for k in both} for one in (old, new))
    lines = differences(marks, marks_now) + differences(before, now)
    if old["search"] or new["search"]:
        lines += [f"the axis {line}" for line in differences(old["axes"], new["axes"])]
    if lines:
        raise ValueError(
            f"{folder} was made otherwise, so results would not be comparable (sweep=NAME starts "
            f"another sweep). What differs: {'; '.join(lines[:8])}"
        )
