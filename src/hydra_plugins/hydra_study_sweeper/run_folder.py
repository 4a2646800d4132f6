"""The protocol of a run's folder: its files, how they are written, how they give the run's state.

`metrics.json` is written last and atomically, so a run that has one has ended. `.lock` holds a
`flock` while the run is under way, and the system drops it when the process exits. No metrics.json
and no lock: the run was interrupted.

The YAML files of a run or a sweep are read with `read_plain_yaml` only, since a stranger may have
written them.
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CONFIG, METRICS, LOG, LOCK = "config.yaml", "metrics.json", "train.log", ".lock"
LAST, BEST = Path("checkpoints/last.ckpt"), Path("checkpoints/best.ckpt")

METRICS_BYTES = 1 << 24
YAML_BYTES = 1 << 20
YAML_DEPTH = 32  # levels of nested lists and mappings
YAML_NODES = 50_000
YAML_SCALAR = 1 << 15  # characters: the time to read a number grows with the square of its length
YAML_INT_BITS = 64


def previous(path: Path) -> Path:
    """Return the path of the checkpoint that was saved before the one at `path`."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


@contextmanager
def atomic_write(path: Path, *, keep: Path | None = None, sync: bool = True) -> Iterator[IO[bytes]]:
    """Open a temporary file that is renamed to `path` once all of it is written.

    Args:
        path: The final name; an older file of that name is replaced.
        keep: A new name for that older file, which is then kept.
        sync: Wait until it is on the disk, where a power cut cannot lose it.

    Raises:
        OSError: The disk is full, read-only, or broken; the error names `path`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
        if sync and os.name == "posix":  # the rename, too, must be on the disk after a power cut
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str, *, sync: bool = True) -> None:
    """Write `text` so that a reader, or a crash at any moment, sees the old file or the new one."""
    with atomic_write(path, sync=sync) as file:
        file.write(text.encode("utf-8", "backslashreplace"))  # names of files may be no UTF-8


def read_metrics(folder: Path) -> dict[str, Any] | None:
    """Read a run's metrics.json; None if there is none, since the run has not ended.

    Raises:
        ValueError: It is damaged: no JSON object with a status.
    """
    path = folder / METRICS
    try:
        content = json.loads(read_bounded(path, METRICS_BYTES))
    except OSError:
        return None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("status"), str):
        raise ValueError(f"{path}: damaged: it has no status")
    return content


def read_result(folder: Path) -> dict[str, Any] | None:
    """Read a run's metrics.json; None if there is none or it is damaged: the run did not end."""
    try:
        return read_metrics(folder)
    except ValueError:
        return None


def scalar_resolvers() -> dict[str, Any]:
    """Return OmegaConf's patterns for YAML scalars such as numbers, by their first character."""
    from omegaconf._utils import get_yaml_loader

    resolvers: dict[str, Any] = get_yaml_loader().yaml_implicit_resolvers
    return resolvers


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """Read scalars as OmegaConf does (1e-4 is a float), at libyaml's speed."""

    yaml_implicit_resolvers = scalar_resolvers()


def read_plain_yaml(path: Path, *, interpolations: bool = False) -> dict[str, Any]:
    """Read a YAML file as OmegaConf.load does, but refuse all that is not plain, bounded data.

    Plain are strings, numbers, true, false, null, lists, and mappings with different strings as
    keys. Tags, anchors, aliases and merge keys are not.

    Args:
        path: The file.
        interpolations: Keep `${...}` as it is written instead of refusing it. Do not give such
            content to OmegaConf: it would resolve it.

    Raises:
        ValueError: The content is not plain, or more than the limits above allow.
        OSError: The file cannot be read.
    """
    try:
        return parse_plain_yaml(read_bounded(path, YAML_BYTES), interpolations=interpolations)
    except ValueError as error:
        text = f"{path}: {error}; only a file that this project wrote can be used"
    raise ValueError(text)


def parse_plain_yaml(text: str, *, interpolations: bool = False) -> dict[str, Any]:
    """Parse YAML as `read_plain_yaml` does.

    Raises:
        ValueError: The content is not plain, or more than the limits above allow.
    """
    try:
        _check_events(text, interpolations)
        content = yaml.load(text, _Loader)
        _check_types(content)
        if not isinstance(content, dict):
            raise ValueError("it has no settings")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = f"no YAML, in line {mark.line + 1}" if mark is not None else "no YAML"
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        problem = " ".join(str(error).split())
    else:
        return content
    raise ValueError(problem)


def read_bounded(path: Path, limit: int) -> str:
    """Read a regular file of at most `limit` bytes; a pipe or a device would never end.

    Raises:
        ValueError: It is no such file, or no UTF-8.
        OSError: It cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"more than {limit >> 20} MiB")
    return content.decode("utf-8")


def _check_events(text: str, interpolations: bool) -> None:
    """Raise ValueError for content that is not plain or is too large, before it is loaded."""
    nodes = documents = 0
    keys: list[set[str] | None] = []  # seen keys of each open collection; None for a list
    key_next: list[bool] = []  # of each open collection: whether a key comes next
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise ValueError("more than one document")
        elif isinstance(event, yaml.CollectionEndEvent):
            keys.pop(), key_next.pop()
        elif isinstance(event, yaml.NodeEvent):
            line = f"in line {event.start_mark.line + 1}"
            nodes += 1
            if nodes > YAML_NODES:
                raise ValueError(f"more than {YAML_NODES} values")
            if event.anchor is not None:
                raise ValueError(f"an anchor or alias {line}")
            if event.tag is not None:
                raise ValueError(f"a tag {line}")
            is_scalar = isinstance(event, yaml.ScalarEvent)
            is_key = bool(key_next) and key_next[-1]
            if is_scalar and len(event.value) > YAML_SCALAR:
                raise ValueError(f"a value of more than {YAML_SCALAR} characters {line}")
            if is_scalar and not interpolations and "${" in event.value:
                raise ValueError(f"an interpolation ${{...}} {line}")
            if is_key:
                if not is_scalar or event.value == "<<":
                    raise ValueError(f"a key that is not a string {line}")
                seen = keys[-1]
                assert seen is not None
                if event.value in seen:
                    raise ValueError(f"a key for the second time {line}")
                seen.add(event.value)
            if key_next and keys[-1] is not None:
                key_next[-1] = not is_key
            if not is_scalar:
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                keys.append(set() if is_mapping else None)
                key_next.append(is_mapping)
                if len(keys) > YAML_DEPTH:
                    raise ValueError(f"more than {YAML_DEPTH} levels {line}")


def _check_types(content: Any) -> None:
    """Raise ValueError unless all is a string, number, bool, None, list, or mapping of strings."""
    if isinstance(content, dict):
        if not all(isinstance(key, str) for key in content):
            raise ValueError("a key that is not a string")
        for value in content.values():
            _check_types(value)
    elif isinstance(content, list):
        for value in content:
            _check_types(value)
    elif isinstance(content, int):
        if content.bit_length() > YAML_INT_BITS:
            raise ValueError(f"a number of more than {YAML_INT_BITS} bits")
    elif content is not None and not isinstance(content, str | float):
        raise ValueError(f"a value of type {type(content).__name__}")


def is_plain_name(name: object) -> bool:
    """Return whether `name` is the name of a file or folder, without a path."""
    return isinstance(name, str) and re.fullmatch(r"(?!\.\.?$)[^/\\\0]+", name) is not None


HAS_FLOCK = fcntl is not None


def flock(file: int | IO[Any], *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file until it is closed; the system unlocks it when the process ends.

    Args:
        file: The file or its descriptor.
        shared: Lock it with others that share it.
        wait: Wait for the lock.

    Returns:
        Whether it is locked; on Windows it always seems to be.

    Raises:
        OSError: The file system has no locks.
    """
    if fcntl is None:
        return True
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(folder: Path) -> bool:
    """Return whether a run is under way in `folder`; always False on Windows."""
    return is_held(folder / LOCK, shared=True)


def is_held(path: Path, *, shared: bool) -> bool:
    """Return whether a process holds the `flock` of the file `path`; always False on Windows.

    Args:
        path: The file; without it nothing is held.
        shared: Whether only an exclusive lock counts; otherwise a shared one does, too.
    """
    try:
        with path.open("rb") as file:
            return not flock(file, shared=shared)
    except OSError:
        return False


def holder(folder: Path) -> int | None:
    """Return the process that runs in `folder`, if it is on this machine and this is Linux."""
    try:
        inode = (folder / LOCK).stat().st_ino
        locks = Path("/proc/locks").read_text()
    except OSError:
        return None
    found = re.search(rf"FLOCK\s+ADVISORY\s+WRITE\s+(\d+)\s+\S+:{inode}\s", locks)
    return int(found[1]) if found and int(found[1]) > 0 else None


def record_failure(folder: Path, error: str) -> None:
    """Write `failed` into the metrics.json of a run that did not do so itself."""
    content = {**(read_result(folder) or {}), "status": "failed", "error": error}
    write_atomically(folder / METRICS, json.dumps(content, indent=2) + "\n")


def delete_checkpoint(folder: Path, name: Path) -> None:
    """Delete the checkpoint LAST or BEST of a run, and the one that was saved before it."""
    for path in (folder / name, previous(folder / name)):
        path.unlink(missing_ok=True)


def prepare_attempt(folder: Path, *, from_scratch: bool) -> None:
    """Rename the metrics.json of the last attempt, so that the next attempt counts as not ended.

    The next attempt continues from the last checkpoint; with `from_scratch`, that is deleted. The
    metrics.json of a stopped attempt is deleted, too.
    """
    if from_scratch:
        delete_checkpoint(folder, LAST)
    metrics = read_result(folder)
    if metrics is None or metrics["status"] == "stopped":
        (folder / METRICS).unlink(missing_ok=True)
        return
    attempt = 1
    while (kept := folder / f"metrics.{metrics['status']}-{attempt}.json").exists():
        attempt += 1
    os.replace(folder / METRICS, kept)


def size(folder: Path) -> int:
    """Return the size in bytes of all files below `folder`."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                continue
    return total


def as_floats(objective: Any) -> list[float] | None:
    """Return the objective as a list of numbers; None if any of it is no number, or NaN."""
    values = objective if isinstance(objective, list) else [objective]
    if any(not isinstance(v, int | float) or v != v for v in values):
        return None
    try:
        return [float(v) for v in values]
    except OverflowError:  # an integer of more than 308 digits
        return None
