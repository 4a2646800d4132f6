"""Write the report of an evaluation: Markdown, JSON, plots and an HTML page."""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.markdown import Markdown

from alexlab.evaluation import plots
from alexlab.evaluation.plots import COLUMNS, Predictions
from alexlab.reporting.console import path_link
from alexlab.reporting.formatting import format_metric
from alexlab.reporting.html import html_page
from alexlab.reporting.markdown import code, escape, only_own_images
from alexlab.reporting.markdown import markdown as table
from alexlab.reporting.plotting import numbered, save, style
from alexlab.runs.folder import write_atomically, write_json_atomically

NAMES = {
    "acc": "accuracy",
    "top1_error": "top-1 error",
    "top5_error": "top-5 error",
    "f1": "macro F1",
    "mae": "MAE",
    "rmse": "RMSE",
    "spearman": "Spearman's rho",
    "bias": "mean of predicted - true",
}


def write(found: Mapping[str, Any], seen: Predictions, folder: Path) -> Path:
    """Write evaluation.md, .json, .html and plots/ into `folder`, and print the numbers."""
    place = folder / "plots"
    place.unlink(missing_ok=True) if place.is_symlink() else shutil.rmtree(
        place, ignore_errors=True
    )
    place.mkdir(parents=True)
    with style():
        figures = _figures(found, seen)
        for name, figure in figures.items():
            save(figure, place / f"{name}.png", dpi=160)
    drawn = {name: numbered(figure) for name, figure in figures.items()}
    files = [f"{name}.png" for name in drawn]
    text = only_own_images(report_markdown(found, drawn), files)
    write_json_atomically(folder / "evaluation.json", {**found, "worst": seen.worst()})
    write_atomically(folder / "evaluation.md", text)
    photos = [f"{name}.png" for name in seen.galleries()]
    page = html_page(text, folder, images=files, photos=photos)
    write_atomically(folder / "evaluation.html", page)
    numbers = text.split("\n\n## ")[: 3 if "crops" in figures else 2]
    Console().print(Markdown("\n\n".join(part.split("\n\n![")[0] for part in numbers)))
    print(path_link(folder / "evaluation.html"))
    return folder


def _figures(found: Mapping[str, Any], seen: Predictions) -> dict[str, Figure]:
    galleries = seen.galleries().items()
    figures = {
        n: plots.gallery(rows, COLUMNS, seen.fit, seen.white)
        for n, rows in galleries
        if any(rows.values())
    }
    if len(found["crops"]) > 1:
        name = headline(found["crops"][0])
        figures["crops"] = plots.crops(found["crops"], name, NAMES[name])
    if seen.classes:
        figures["confusion"] = plots.confusion(found["confusion_matrix"], seen.classes)
        figures["reliability"] = plots.reliability(found["calibration"])
    else:
        scores, targets = seen.predictions[:, 0].tolist(), seen.targets.tolist()
        figures["residuals"] = plots.residuals(scores, targets)
    return figures


def headline(row: Mapping[str, Any]) -> str:
    """Return the metric that compares numbers of crops."""
    return "acc" if "acc" in row else "mae"


def with_interval(name: str, found: Mapping[str, Any], *, change: bool = False) -> list[str]:
    """Format a value and its interval; a `change` has a sign and no unit."""
    values = [math.nan if v is None else v for v in (found["value"], *found["interval"])]
    value, low, high = (format_metric(name, v, signed=change, unit=not change) for v in values)
    return [value, "-" if low == high == "-" else f"{low} to {high}"]


def report_markdown(found: Mapping[str, Any], plots: Mapping[str, str]) -> str:
    """Return the page of an evaluation; `plots` maps the names of its plots to captions or ""."""
    about = (
        f"{code(found['run'])}, weights of epoch {found['epoch']};"
        f" {found['images']:,} images of {code(found['root'])}; {found['device']}"
    )
    rows = [[NAMES[name], *with_interval(name, v)] for name, v in found["metrics"].items()]
    parts = [
        f"# {escape(found['model'])} on {escape(found['data'])}, {found['split']}",
        "\n".join(f"- {line}" for line in [about, *map(escape, found["notes"])]),
        "## Numbers",
        table(["", "value", "95% interval"], rows),
        "Intervals are bootstraps over these images, duplicates kept together (2,000 resamples)."
        " They cover other images like these, not another training.",
    ]
    if len(found["crops"]) > 1:
        parts += ["## Test-time crops", crops_table(found["crops"]), *_plots(plots, "crops")]
    if "per_class" in found:
        parts += _of_classes(found, plots)
    else:
        parts += ["## Scores", *_plots(plots, "residuals")]
        parts += ["## Largest errors", *_plots(plots, "errors")]
    return "\n\n".join(parts) + "\n"


def crops_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with one row per number of crops: metric, change from one crop, cost."""
    name = headline(rows[0])
    top5 = ["top5_error"] if "top5_error" in rows[0] else []
    change = "change, points" if name == "acc" else "change"
    head = ["views", NAMES[name], "95% interval", *(NAMES[k] for k in top5), change]
    lines = [
        [
            str(row["crops"]),
            *with_interval(name, row[name]),
            *(format_metric(k, row[k]["value"]) for k in top5),
            *(with_interval(name, row["gain"], change=True) if row["gain"] else ["", ""]),
            f"{row['seconds']:.1f}",
            f"{row['ratio']:.1f}",
        ]
        for row in rows
    ]
    return table([*head, "95% interval", "seconds", "times"], lines)


def _share(value: float | None) -> str:
    return "-" if value is None else format_metric("f1", value)


def _of_classes(found: Mapping[str, Any], plots: Mapping[str, str]) -> list[str]:
    keys = ("precision", "recall", "f1")
    rows = [
        [escape(row["class"]), f"{row['images']:,}", *map(_share, (row[k] for k in keys))]
        for row in found["per_class"]
    ]
    return [
        "## Classes",
        table(["class", "images", *keys], rows),
        *_plots(plots, "confusion"),
        "## Calibration",
        f"Expected calibration error {format_metric('ece', found['calibration']['ece'])}: how far"
        " confidence is from accuracy, on average over 15 bins.",
        *_plots(plots, "reliability"),
        "## Most confident mistakes",
        "The text under an image has its class, the prediction and the confidence.",
        *(_plots(plots, "mistakes", "mistakes_by_class") or ["There are none."]),
    ]


def _plots(there: Mapping[str, str], *names: str) -> list[str]:
    parts = []
    for name in names:
        if name in there:
            parts.append(f"![{name.replace('_', ' ')}](plots/{name}.png)")
            parts += [f"*{escape(there[name])}*"] * bool(there[name])
    return parts
