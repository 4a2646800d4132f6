"""Return the running program as its user typed it, for commands to store or to start again.

Lightning's DDP starts its other ranks with the command that `__main__` and sys.argv make up, and a
dispatcher such as `alexlab VERB ...` takes its verb off sys.argv before the verb's module parses
the rest.
"""

import sys
from pathlib import Path


def main_module() -> str | None:
    """Return the name of the module that `python -m` runs; None for a script."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return None if spec is None else str(spec.name)


def program() -> list[str]:
    """Return the program as typed: `python -m src.train`, `python app.py`, or `alexlab`."""
    if (module := main_module()) is not None:
        return ["python", "-m", module.removesuffix(".__main__")]
    script = Path(sys.argv[0])
    if script.suffix == ".py":
        return ["python", sys.argv[0]]
    return [script.name.removesuffix(".exe")]


def verbs() -> list[str]:
    """Return the words that a dispatcher took off the beginning of sys.argv."""
    typed, left = _arguments_of_interpreter(), sys.argv[1:]
    taken = len(typed) - len(left)
    return typed[:taken] if taken > 0 and typed[taken:] == left else []


def _arguments_of_interpreter() -> list[str]:
    """Return the words typed after the program; none in a process that multiprocessing started."""
    words = sys.orig_argv
    if main_module() is None:
        return words[words.index(sys.argv[0]) + 1 :] if sys.argv[0] in words else []
    at = next((i for i, word in enumerate(words) if word == "-m"), len(words))
    return words[at + 2 :]


def restore_verbs() -> None:
    """Put the dispatcher's words back into sys.argv, after it has been parsed.

    After that, sys.argv is a command that DDP can start again.
    """
    sys.argv[1:1] = verbs()
