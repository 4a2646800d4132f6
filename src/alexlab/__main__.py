"""Dispatch `alexlab VERB ...` to the module of the verb, which is imported only then."""

import gc
import os
import signal
import sys
from importlib import import_module
from typing import Any

VERBS = {
    "train": "train a network; with -m, or a study, run a sweep",
    "evaluate": "test a finished run: metrics, intervals, plots of its mistakes",
    "predict": "classify images with a finished run",
    "export": "write a finished run as ONNX or torch.export",
    "explain": "show a network layer by layer, without training",
    "look": "draw filters, feature maps and Grad-CAM of a finished run",
    "lr-find": "find a learning rate",
    "report": "write the report of a sweep: tables, plots, answers",
    "sweeps": "list, clean, delete or repeat sweeps",
    "rerun": "repeat a run and compare the results to the bit",
    "data": "fetch, check or preview a data set",
    "new": "write the files of a model or study of your own",
    "board": "open TensorBoard on all runs",
    "completion": "print a script for completion in bash",
}
# these verbs import torch, which takes seconds
SLOW = {"train", "evaluate", "predict", "export", "explain", "look", "lr-find", "rerun", "data"}
COMPLETION = {"-sc", "--shell-completion"}  # Hydra's option; Hydra's script lacks our verbs


def main() -> None:
    """Run the verb that the command line names; sys.argv keeps the words after the verb.

    Raises:
        SystemExit: With the verb's exit code; 2 if the verb is unknown.
    """
    with ExitOnInterrupt():
        say_starting(sys.argv[1:])
        from alexlab.errors import quiet_ends

    try:
        with quiet_ends():
            dispatch()
    finally:
        gc.freeze()  # else Python searches all objects for cycles at exit: 0.9 s with Lightning


def say_starting(words: list[str]) -> None:
    """Print "starting ..." on a terminal if the verb takes seconds to start."""
    help_only = {"-h", "--help", *COMPLETION, "--cfg", "--info"} & {*words}
    first_rank = "LOCAL_RANK" not in os.environ
    if words and words[0] in SLOW and not help_only and first_rank and sys.stderr.isatty():
        print("starting ...", file=sys.stderr, flush=True)


class ExitOnInterrupt:
    """Exit with 130 on Ctrl-C: an import may turn a KeyboardInterrupt into another error."""

    def __enter__(self) -> None:  # noqa: D105
        self.before: Any = signal.getsignal(signal.SIGINT)
        if callable(self.before):  # neither SIG_IGN nor SIG_DFL
            signal.signal(signal.SIGINT, lambda *_: os._exit(130))

    def __exit__(self, *_: Any) -> None:  # noqa: D105
        signal.signal(signal.SIGINT, self.before)


def dispatch() -> None:
    """Run the verb of the command line; see `main`."""
    program, *words = sys.argv
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return
    verb, *rest = words
    if verb in ("-V", "--version"):
        from alexlab import __version__

        print(f"alexlab {__version__}")
        return
    if verb not in VERBS:
        from alexlab.errors import suggest

        is_setting = "=" in verb or verb.startswith("-")
        hint = f"; did you mean alexlab train {verb}?" if is_setting else suggest(verb, VERBS)
        print(f"error: alexlab {verb}: no such verb{hint}", file=sys.stderr)
        raise SystemExit(2)
    if verb == "train" and COMPLETION & {*rest} and "install=bash" in rest:
        verb, rest = "completion", ["bash"]
    sys.argv = [program, *rest]
    with ExitOnInterrupt():
        command = import_module(f"alexlab.commands.{verb.replace('-', '_')}")
        if verb == "train":  # its imports need the handler too; a run sets its own
            command.main()
            return
    from alexlab.messages import show

    show()
    command.main()


def usage() -> str:
    """Return the text of `alexlab --help`: one line per verb."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            "usage: alexlab VERB ...",
            "",
            *lines,
            "",
            "alexlab VERB --help for more; alexlab --version.",
        ]
    )


if __name__ == "__main__":
    main()
