"""Write errors for users: one or two lines, `key=value: problem; what to do`."""

import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import TypeVar

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, InstantiationException

T = TypeVar("T")
_ROOT = Path(__file__).parents[2]
CHECKOUT = _ROOT if (_ROOT / "pyproject.toml").is_file() else None  # None in an installation
MAX_LISTED = 20  # longer lists of choices are left out


def missing_data(name: str, root: str) -> str:
    """Return the message for a data set without a folder, with the command to get the images."""
    given = {"flower": "", "cifar10": "", "pokemon": " FILE_OR_FOLDER"}  # arguments of fetch
    if name in given:
        return (
            f"data={name}: no folder {root}; get the images: alexlab data fetch {name}{given[name]}"
            "\n(if you have them elsewhere, set DATA_DIR for a new run, or data.root)"
        )
    return f"data={name}: no folder {root}; set data.root to yours, or DATA_DIR for a new run"


def suggest(name: str, choices: Iterable[str]) -> str:
    """Return the end of an error about the unknown `name`: similar choices, or all if few."""
    options = list(choices)
    matches = get_close_matches(name, options, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(matches)}?" if matches else ""
    if 0 < len(options) <= MAX_LISTED:
        hint += f"{'' if matches else ';'} choose from {', '.join(options)}"
    return hint


def lookup(argument: str, value: str, table: Mapping[str, T]) -> T:
    """Return ``table[value]``.

    Raises:
        ValueError: `value` is not in `table`; the message suggests choices.
    """
    if isinstance(value, str) and value in table:
        return table[value]
    raise ValueError(f"{argument}={value}: unknown{suggest(str(value), table)}")


def check_folder(setting: str, folder: Path) -> None:
    """Check that `folder` is a folder, or can be created.

    Raises:
        ValueError: `folder` or a parent is a file; the message starts with `setting`, such as
            "cache_dir=FOLDER".
    """
    above = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if above.exists() and not above.is_dir():
        name = "it" if above == folder else above
        raise ValueError(f"{setting}: {name} is a file; name a folder")


def check_file(setting: str, path: Path, example: str) -> None:
    """Check that `path` can become a file, before its content is computed.

    Raises:
        ValueError: `path` is a folder, or a parent is a file; the message starts with `setting`,
            such as "--out FILE", and names the file `example`.
    """
    if path.is_dir():
        raise ValueError(f"{setting}: it is a folder; name a file, as in {path / example}")
    check_folder(setting, path.parent)


# name of a setting in version 0.1 -> its present name
RENAMED = {
    "sweep": "sweep.name",
    "jobs": "sweep.n_jobs",
    "jobs_per_gpu": "sweep.jobs_per_gpu",
    "n_trials": "sweep.n_trials",
    "sampler": "sweep.sampler",
    "prune": "sweep.pruner",
    "retries": "sweep.max_retries",
    "on_error": "sweep.on_error",
    "rerun_failed": "sweep.rerun_failed",
    "timeout_s": "sweep.timeout_s",
    "keep_best": "sweep.keep_best",
    "dry_run": "sweep.dry_run",
    "hydra.sweeper.storage": "sweep.storage",
    "sched.epoch": "sched.drop_epoch",
    "sched.after": "sched.drop_lr",
    "sched.lr": "sched.lrs",
}
RENAMED_LISTS = {"sched.after": "sched.milestones"}  # instead, if the value is a list


def refuse_old_settings(overrides: Iterable[str]) -> None:
    """Raise ValueError for an override with the old name of a setting; the message has the new."""
    for override in overrides:
        key, equals, value = override.partition("=")
        name = key.lstrip("+~")
        if equals and name in RENAMED:
            new = (RENAMED_LISTS if value.startswith("[") else {}).get(name, RENAMED[name])
            raise ValueError(f"{override}: this setting is now {new}; write {new}={value}")


# control characters, line separators, marks of text direction, surrogates
UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: object) -> str:
    r"""Return `text` with control characters escaped, such as \x1b, for printing on a terminal.

    Names of files, classes and settings may come from a stranger.
    """
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], str(text))


TRACES = "ALEXLAB_TRACES"  # the user's value of HYDRA_FULL_ERROR, before alexlab train sets it
# types whose messages are written for users; other errors are printed with the name of their type
PLAIN = (ValueError, FileNotFoundError, RuntimeError, FloatingPointError, HydraException)


def suggest_setting(name: str, keys: Iterable[str]) -> str:
    """Return the end of an error about the unknown setting `name`: for lr it suggests optim.lr."""
    keys = list(keys)
    last = name.rpartition(".")[2]
    by_last: dict[str, list[str]] = {}
    for key in keys:
        by_last.setdefault(key.rpartition(".")[2], []).append(key)
    near = [last] if last in by_last else get_close_matches(last, by_last, n=2, cutoff=0.6)
    found = [key for one in near for key in by_last[one] if key != name][:3]
    return f"; did you mean {' or '.join(found)}?" if found else suggest(name, keys)


def _of_hydra(text: str, override: str | None) -> str | None:
    """Return the message for an error of Hydra's override parser; None for other errors."""
    if found := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^'\n]+)'", text):
        key, _, value = found[1].partition("=")
        return (
            f"{found[1]}: several values make a sweep: add -m\n"
            f"(one value that is a list: {key}=[{value}]; a text: '{key}=\"{value}\"')"
        )
    if override is not None:
        key, equals, value = override.partition("=")
        if not equals:
            return f"{override}: a setting is KEY=VALUE; put a value with spaces into quotes"
        quoted = QuotedString(text=value, quote=Quote.double).with_quotes()
        written = shlex.quote(f"{key}={quoted}")
        return f"{override}: cannot be read; put the value into quotes: {written}"
    if text.startswith("Config group override must be a string or a list"):
        return "a group cannot be null; name one of its options, as in optim=sgd, or leave it out"
    if "Could not override ''" in text:
        return "a setting without a key; write KEY=VALUE, without spaces around ="
    return None


def format_error(
    error: BaseException, explain: Callable[[str], str] = "{}: no such setting".format
) -> str:
    """Return one or two lines for `error`; `explain` writes them for an unknown setting."""
    where = ""  # key of the config node that was instantiated
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        if found := re.search(r"full_key: (\S+)", str(error)):
            where = f"{found[1]}: "
        error = error.__cause__
    text = str(error)
    if (told := _of_hydra(text, getattr(error, "override", None))) is not None:
        return told
    if found := re.search(r"Could not override '([^']+)'", text):
        return explain(found[1])
    if found := re.search(r"Could not find '([^'/]+(?:/[^'/]+)*)/([^'/]+)'", text):
        options = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE)
        return f"{found[1]}={found[2]}: unknown{suggest(found[2], options)}"
    if found := re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", text):
        return f"{where}{found[1]} takes no {found[2]!r}; remove the setting ending in .{found[2]}"
    if found := re.search(r"Key '\w+' is not in struct\s+full_key: (\S+)", text):
        return f"{found[1]}: a run needs this setting; do not remove it with ~{found[1]}"
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename is not None:
        return f"{error.filename}: a file is where a folder is needed; choose another name"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if found := re.match(r"ValueError raised while resolving interpolation: (.*)", text):
        return found[1]
    lines = [line.strip() for line in text.splitlines() if line.strip()][:2]
    prefix = "" if isinstance(error, PLAIN) else f"{where}{type(error).__name__}: "
    return prefix + "\n".join(lines or [type(error).__name__])


@contextmanager
def user_errors(explain: Callable[[str], str] = "{}: no such setting".format) -> Iterator[None]:
    """Print an error of the block in one or two lines and exit with 1.

    `quiet_ends` handles Ctrl-C and closed pipes. HYDRA_FULL_ERROR=1 prints tracebacks instead. For
    `explain` see `format_error`.
    """
    with quiet_ends():
        try:
            yield
        except BrokenPipeError:
            raise
        except Exception as error:
            if (stop := _interruption(error)) is not None:
                raise stop from None
            if _pressed:  # the interrupted code raised another error, without a chain to Ctrl-C
                raise KeyboardInterrupt from None
            if os.environ.get(TRACES, os.environ.get("HYDRA_FULL_ERROR")) == "1":
                raise
            lines = format_error(error, explain).split("\n")
            print("error:", "\n".join(map(printable, lines)), file=sys.stderr)
            sys.exit(1)


def _interruption(error: BaseException | None) -> BaseException | None:
    """Return the KeyboardInterrupt or SystemExit in the exception chain of `error`, if any."""
    while error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
        error = error.__cause__ or error.__context__
    return error


_pressed: list[int] = []  # signal numbers of Ctrl-C in this block


@contextmanager
def _remember_ctrl_c() -> Iterator[None]:
    """Record Ctrl-C in `_pressed` if Python's own handler is installed."""

    def handler(number: int, frame: FrameType | None) -> None:
        _pressed.append(number)
        signal.default_int_handler(number, frame)

    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_ours:
        signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        if is_ours:
            _pressed.clear()
            if signal.getsignal(signal.SIGINT) is handler:
                signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def quiet_ends() -> Iterator[None]:
    """Exit without a traceback: with 130 after Ctrl-C, with 141 after a closed pipe."""
    try:
        try:
            with _remember_ctrl_c():
                yield
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        close_output()
        sys.exit(BROKEN_PIPE)


BROKEN_PIPE = 141  # 128 + SIGPIPE


def close_output() -> None:
    """Redirect stdout and stderr to the null device: Python cannot flush a closed pipe at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def missing_extra(extra: str, purpose: str) -> str:
    """Return the message for a failed import of an optional package, with the install command.

    In a checkout the command installs `extra`. Elsewhere it names the packages, because the project
    is on no package index. `purpose` is the option that needs them, such as `--format onnx`.
    """
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    if CHECKOUT is not None:
        return f"{purpose} needs an extra: pip install -e '.[{extra}]' (in {CHECKOUT})"
    wanted = [
        f"'{requirement.name}{requirement.specifier}'"
        for requirement in map(Requirement, requires("alexlab") or [])
        if requirement.marker is not None and requirement.marker.evaluate({"extra": extra})
    ]
    return f"{purpose} needs more packages: pip install {' '.join(wanted)}"
