"""Define a check, its context and its report."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


class Result(NamedTuple):
    """Hold a line of the report: a name, whether the check passed, and the measured value."""

    name: str
    ok: bool
    value: str
    numbers: dict[str, Any] = {}  # noqa: RUF012 - never changed


@dataclass(frozen=True)
class Context:
    """Hold the device and the folders of a check.

    Attributes:
        device: `cuda` or `cpu`.
        work: Folder for runs, caches and logs, which is deleted at the end.
        data_dir: Folder with `pokemon/<class>/*`, or None.
    """

    device: str
    work: Path
    data_dir: Path | None = None

    @property
    def on_gpu(self) -> bool:
        """Return whether the checks run on a GPU."""
        return self.device == "cuda"

    def pick(self, on_gpu: T, on_cpu: T) -> T:
        """Return the value for the device."""
        return on_gpu if self.on_gpu else on_cpu

    def run_dir(self, name: str) -> Path:
        """Return the folder of a run; its log and metrics go to the archive."""
        return self.work / "runs" / name

    def remember(self, name: str, value: Any) -> None:
        """Store a value for a later check, which runs in another process."""
        (self.work / "notes").mkdir(exist_ok=True)
        (self.work / "notes" / f"{name}.json").write_text(json.dumps(value))

    def recall(self, name: str) -> Any:
        """Return the value that an earlier check has stored, or None."""
        path = self.work / "notes" / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None


@dataclass(frozen=True)
class Check:
    """Define a check, which runs in a process of its own and yields results.

    Attributes:
        name: Prefix of the names of its results.
        function: `module:name` in this package, or with the module's full name; called with the
            context, it yields the results one by one.
        limit_s: Time limit, after which the process is killed and the check has failed.
        needs_s: The check is skipped if less of the budget is left.
        devices: Devices on which it can run.
        alone: Whether no other check may run at the same time, except background ones.
        background: Whether it may run at the same time as any other check.
        after: Name of a check that must end first.
        required: Whether all later checks are skipped if it fails: without a GPU they take hours.
    """

    name: str
    function: str
    limit_s: float = 60.0
    needs_s: float = 5.0
    devices: tuple[str, ...] = ("cuda", "cpu")
    alone: bool = False
    background: bool = False
    after: str | None = None
    required: bool = False

    def load(self) -> Callable[[Context], Iterator[Result]]:
        """Import the function, and torch with it."""
        module, name = self.function.split(":")
        package = "" if "." in module else f"{__package__}."
        function: Callable[[Context], Iterator[Result]]
        function = getattr(import_module(package + module), name)
        return function


@dataclass
class Report:
    """Print each result at once and keep all of them for the JSON file."""

    path: Path
    about: dict[str, Any]
    results: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: Result, **more: Any) -> None:
        """Print a result and write the whole file, which is complete even after a kill."""
        print(f"{result.name} {'ok' if result.ok else 'FAIL'} {result.value}", flush=True)
        entry = {"name": result.name, "ok": result.ok, "value": result.value}
        self.results.append({**entry, "numbers": result.numbers, **more})
        self.write()

    def skip(self, name: str, reason: str) -> None:
        """Print that a check did not run."""
        print(f"{name} skipped {reason}", flush=True)
        self.results.append({"name": name, "ok": None, "value": reason})
        self.write()

    def write(self) -> None:
        """Write all results so far as JSON."""
        text = json.dumps({**self.about, "results": self.results}, indent=1, default=str)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(text + "\n")
        os.replace(temporary, self.path)

    @property
    def failed(self) -> list[str]:
        """Return the names of the failed results."""
        return [entry["name"] for entry in self.results if entry["ok"] is False]
