"""Train networks and read their results from Python: `from alexlab import train, load_run`.

The functions take the settings, write the folders and raise the errors of the command line.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from alexlab.errors import format_error
from alexlab.runs.folder import HISTORY, Stopped, read_metrics
from alexlab.runs.locate import resolve_run_dir
from hydra_plugins.hydra_study_sweeper.overrides import quote
from hydra_plugins.hydra_study_sweeper.run_folder import CONFIG, read_plain_yaml

if TYPE_CHECKING:
    from torch import nn

    from alexlab.evaluation.loading import LoadedRun

PLAIN_TEXT = re.compile(r"[A-Za-z_./~][\w./~:-]*")
WORDS = {None: "null", True: "true", False: "false"}
NOT_TEXT = {"null", "true", "false", "nan", "inf"}  # words that Hydra does not parse as text


class Run:
    """A finished run, read from its folder.

    Args:
        folder: The run folder, or best:SWEEP_DIR for the best run of a sweep.

    Raises:
        FileNotFoundError: The folder does not exist, is not a run folder, or has no best.ckpt.
        ValueError: The run has not finished, or the folder is that of a sweep.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = resolve_run_dir(folder)

    @cached_property
    def record(self) -> dict[str, Any]:
        """Return the content of metrics.json: metrics, best epoch, time, versions, commit."""
        return read_metrics(self.folder) or {}

    @property
    def metrics(self) -> dict[str, float]:
        """Return the metrics, such as {"val/acc": 0.9}: of the best epoch, except `..._last...`."""
        return dict(self.record["metrics"])

    @cached_property
    def history(self) -> pd.DataFrame:
        """Return history.csv: one row per epoch, with columns such as `train/loss`, `val/acc`."""
        return pd.read_csv(self.folder / HISTORY)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Return config.yaml as nested dictionaries: `config["optim"]["lr"]`."""
        return read_plain_yaml(self.folder / CONFIG)

    @cached_property
    def _loaded(self) -> "LoadedRun":
        from alexlab.evaluation.loading import load_run

        return load_run(self.folder)

    @property
    def net(self) -> "nn.Module":
        """Return the network in eval mode, with the weights of the best epoch.

        It maps standardised images [N, C, R, R] float32 to outputs [N, num_outputs].
        """
        return self._loaded.net

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes in the order of the outputs; empty for scores."""
        return list(self._loaded.classes)

    def predict(
        self, images: str | Path | Iterable[str | Path], *, top: int = 1, crops: int = 1
    ) -> pd.DataFrame:
        """Predict image files.

        Args:
            images: The path of an image or of a folder of images, or several paths of images.
            top: Number of classes per image.
            crops: Crops per image, whose predictions are averaged: 1, 10 or 144.

        Returns:
            One row per image: `path`; `class` and `probability` (with `top` above 1: class_1,
            probability_1, class_2, ...), or `score`; `error` for a file that cannot be read.

        Raises:
            FileNotFoundError: The one path does not exist, or its folder has no image.
            ValueError: `crops` has another value.
        """
        from alexlab.evaluation.image_paths import find_images
        from alexlab.evaluation.predict import predict

        if isinstance(images, str | Path):
            paths, _, _ = find_images(str(images))
        else:
            paths = [Path(image) for image in images]
        rows = []
        for record in predict(self._loaded, paths, top=top, crops=crops):
            row = {key: value for key, value in record.items() if key != "predictions"}
            for rank, one in enumerate(record.get("predictions", []), 1):
                end = "" if top == 1 else f"_{rank}"
                row |= {f"{key}{end}": value for key, value in one.items()}
            rows.append(row)
        return pd.DataFrame(rows)

    def __repr__(self) -> str:  # noqa: D105
        shown = ", ".join(f"{key}={text}" for key, text in self._shown().items())
        return f"Run({str(self.folder)!r}: {shown})"

    def _repr_html_(self) -> str:
        """Show the metrics as a table in a notebook."""
        table = pd.DataFrame({"": self._shown()}).to_html(border=0)
        return f"<b>{escape(str(self.folder))}</b>{table}"

    def _shown(self) -> dict[str, str]:
        from alexlab.reporting.formatting import format_metric

        return {key: format_metric(key, value) for key, value in self.metrics.items()}


class LoadedSweep:
    """A sweep, read from its folder; the sweep may be unfinished.

    Args:
        folder: The folder with trials.csv and sweep.yaml.

    Raises:
        FileNotFoundError: The folder is not a sweep.
        ValueError: Its runs cannot be compared.
    """

    def __init__(self, folder: str | Path) -> None:
        from alexlab.studies.results import load

        self.folder = Path(folder)
        self._sweep = load(self.folder)

    @property
    def question(self) -> str:
        """Return the question of its study, or the name of the sweep."""
        return self._sweep.question

    def to_frame(self) -> pd.DataFrame:
        """Return one row per trial: number, state, values of the axes, metrics, folder."""
        from hydra_plugins.hydra_study_sweeper.sweep_folder import read_trials

        folders = {int(row["number"]): row["folder"] for row in read_trials(self.folder)}
        rows = [
            {
                "number": run.number,
                "state": run.state,
                **{axis: _number(value) for axis, value in run.values.items()},
                **run.record.get("metrics", {}),
                "epochs": run.record.get("epochs"),
                "wall_s": run.record.get("wall_s"),
                "error": run.error or None,
                "folder": str(self.folder / folders[run.number]),
            }
            for run in self._sweep.runs
        ]
        return pd.DataFrame(rows)

    @cached_property
    def answers(self) -> list[dict[str, Any]]:
        """Compute the answers to the claims of the study from the runs.

        Each answer has the keys of answers.json, such as `claim`, `answer`, `effect` and `n`.
        """
        from alexlab.studies.answers import answer_claims, table_of
        from alexlab.studies.answers_json import claim_facts

        sweep = self._sweep
        answers = answer_claims(table_of(sweep), sweep.about, sweep.setting)
        return [claim_facts(one) for one in answers]

    def best(self) -> Run:
        """Return the run with the best objective among the runs that kept their weights."""
        return Run(f"best:{self.folder}")

    def __repr__(self) -> str:  # noqa: D105
        done, runs = len(self._sweep.done), len(self._sweep.runs)
        return f"LoadedSweep({str(self.folder)!r}: {done} of {runs} runs finished)"

    def _repr_html_(self) -> str:
        """Show the answers, or else the trials, in a notebook."""
        table = self.to_frame().drop(columns="folder")
        if self.answers:
            columns = ["claim", "answer", "judgement", "effect", "low", "high", "n"]
            table = pd.DataFrame(self.answers)[columns]
        return f"<b>{escape(self.question)}</b>{table.to_html(border=0, index=False)}"


class Page:
    """The HTML report at `path`; a notebook shows it in a frame."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:  # noqa: D105
        return f"Page({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """Show the page in a sandboxed frame, in which no script runs."""
        content = escape(self.path.read_text("utf-8"))
        frame = f'<iframe sandbox srcdoc="{content}" width="100%" height="600"></iframe>'
        return f"{escape(str(self.path))}<br>{frame}"


def train(*overrides: str | Sequence[str], **settings: Any) -> Run:
    """Train a network, as `alexlab train` does, and return the run.

    Args:
        *overrides: Settings as on the command line, such as "optim.lr=0.1", or lists of them.
        **settings: Groups and settings by name: model="alexnet", act="tanh", seed=1. Write a name
            that has a dot as `**{"trainer.max_epochs": 1}`.

    Returns:
        The finished run; its folder is in multirun/single, or is "hydra.run.dir".

    Raises:
        ValueError: A setting does not exist or is not valid, or the settings ask for a sweep.
        FileNotFoundError: The data set is missing.
        KeyboardInterrupt: Ctrl-C or another stop signal; the message says how to continue.
    """
    words = [word for one in overrides for word in ([one] if isinstance(one, str) else one)]
    words += [f"{key}={_as_text(value)}" for key, value in settings.items()]
    from alexlab import messages
    from alexlab.commands.train import compose_run, in_folder

    messages.show()
    with _plain_errors():
        cfg, folder = compose_run(words)
        try:
            in_folder(cfg, folder, trial=False, write=True)
        except Stopped:
            reason = f'stopped; to go on: train(resume="{folder}")'
            raise KeyboardInterrupt(reason) from None
    return Run(folder)


def load_run(folder: str | Path) -> Run:
    """Read a finished run from its folder, or the best run of a sweep: "best:multirun/NAME"."""
    return Run(folder)


def load_sweep(folder: str | Path) -> LoadedSweep:
    """Read a sweep from its folder, such as "multirun/activation"."""
    return LoadedSweep(folder)


def evaluate(
    run: Run | str | Path,
    *,
    data: Mapping[str, Any] | None = None,
    crops: Sequence[int] = (1,),
    split: str = "test",
) -> dict[str, Any]:
    """Evaluate a finished run, as `alexlab evaluate` does.

    Args:
        run: The run, or its folder.
        data: Data settings to change, such as {"root": "FOLDER"}. The classes must be the run's.
        crops: Numbers of crops per image: 1, 10 or 144. One crop is always evaluated.
        split: `test`, `val`, or `all` images.

    Returns:
        The content of evaluation/evaluation.json in the run folder.

    Raises:
        ValueError: The data has other classes, or a setting is not valid.
        FileNotFoundError: The data set is missing.
    """
    from alexlab.evaluation.evaluate import evaluate as evaluate_folder

    folder = run.folder if isinstance(run, Run) else resolve_run_dir(run)
    words = [f"{key}={_as_text(value)}" for key, value in (data or {}).items()]
    with _plain_errors():
        place = evaluate_folder(folder, settings=words, crops=crops, split=split)
    found: dict[str, Any] = json.loads((place / "evaluation.json").read_text("utf-8"))
    return found


def report(*folders: Run | LoadedSweep | str | Path) -> "Page | pd.DataFrame":
    """Write the report of a sweep, or compare runs, as `alexlab report` does.

    Args:
        *folders: One sweep, or runs.

    Returns:
        The page of the sweep; for runs a table of the settings that differ and of the metrics.

    Raises:
        FileNotFoundError: A folder is neither a sweep nor a run.
        ValueError: The runs of the sweep cannot be compared.
    """
    from alexlab.studies.compare_runs import compare, is_run
    from alexlab.studies.write_report import write_report

    paths = [one.folder if isinstance(one, Run | LoadedSweep) else Path(one) for one in folders]
    if len(paths) == 1 and not is_run(paths[0]):
        write_report(paths[0])
        return Page(paths[0] / "report.html")
    head, rows = compare(paths)
    return pd.DataFrame(rows, columns=head).set_index("")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Convert Hydra's errors to ValueError with the message of the command line."""
    from hydra.errors import HydraException

    from alexlab.commands.arguments import explain_setting

    try:
        yield
    except HydraException as error:
        raise ValueError(format_error(error, explain_setting)) from error


def _as_text(value: Any) -> str:
    """Write a value as a Hydra override: None becomes null, a text is quoted if necessary."""
    if value is None or isinstance(value, bool):
        return WORDS[value]
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_as_text(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_as_text, value))}]"
    text = str(value)
    if isinstance(value, str | Path) and text.lower() in NOT_TEXT:
        return quote(text)
    is_text = isinstance(value, str | Path) and not PLAIN_TEXT.fullmatch(text)
    return quote(text) if is_text else text


def _number(text: str) -> Any:
    """Parse a value of an axis as JSON, such as a number; return other texts as they are."""
    try:
        return json.loads(text)
    except ValueError:
        return text
