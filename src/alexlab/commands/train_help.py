"""Write the text of `alexlab train --help`, because Hydra's own help takes a second."""

from collections.abc import Iterable
from pathlib import Path

TEXT = """\
usage: alexlab train [-m] [GROUP=OPTION ...] [SETTING=VALUE ...]

Train a network; with -m, or a study, run a sweep.

  alexlab train model=alexnet act=tanh                                one run
  alexlab train -m optim.lr=0.01,0.005 data.batch_size=8,16,32        a sweep
  alexlab train study=activation                                      a published question
  alexlab train resume=multirun/single/...                            continue a run
  alexlab board                                                       look at all runs

In a checkout `python -m src.train` is the same as `alexlab train`.
Groups, and the options of each:

{groups}

All settings: alexlab train --cfg job (with any of the above)
Hydra's own options: alexlab train --hydra-help
"""


def help_text(folders: Iterable[Path]) -> str:
    """Return the help, with the groups and options in config folders."""
    groups: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.glob("*/*.yaml"):
            groups.setdefault(path.parent.name, set()).add(path.stem)
    lines = (f"{group}: {', '.join(sorted(groups[group]))}" for group in sorted(groups))
    return TEXT.format(groups="\n".join(lines))


def extra_folders(words: list[str]) -> list[Path]:
    """Return the folder of --config-dir (-cd) in a command line; empty without that option."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, _, value = word.partition("=")
        if option in ("--config-dir", "-cd"):
            return [Path(value or following)]
    return []
