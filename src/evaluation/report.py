"""What an evaluation found, as Markdown, JSON, plots and a page."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from src.evaluation import plots as draw
from src.evaluation.galleries import COLUMNS, Seen
from src.run_folder import write_atomically, write_json_atomically
from src.studies.html import page
from src.studies.metrics import shown
from src.studies.tables import markdown as table

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


def write(found: Mapping[str, Any], seen: Seen, folder: Path) -> Path:
    """Write evaluation.{md,json,html} and plots/ into `folder`, and print the numbers."""
    shutil.rmtree(folder / "plots", ignore_errors=True)
    (folder / "plots").mkdir(parents=True)
    figures = {
        name: draw.gallery(rows, COLUMNS, seen.fit) for name, rows in seen.galleries().items()
    }
    if len(found["crops"]) > 1:
        figures["crops"] = draw.crops(
            found["crops"], name := headline(found["crops"][0]), NAMES[name]
        )
    if seen.classes:
        figures["confusion"] = draw.confusion(found["confusion_matrix"], seen.classes)
        figures["reliability"] = draw.reliability(found["calibration"])
    else:
        figures["residuals"] = draw.residuals(
            seen.predictions[:, 0].tolist(), seen.targets.tolist()
        )
    there = {name: figure for name, figure in figures.items() if figure is not None}
    for name, figure in there.items():
        figure.savefig(folder / "plots" / f"{name}.png", dpi=160)
    text = markdown(found, list(there))
    write_json_atomically(folder / "evaluation.json", {**found, "worst": seen.worst()})
    write_atomically(folder / "evaluation.md", text)
    write_atomically(folder / "evaluation.html", page(text, folder))
    numbers = text.split("\n\n## ")[: 3 if "crops" in there else 2]
    Console().print(Markdown("\n\n".join(part.split("\n\n![")[0] for part in numbers)))
    print(folder / "evaluation.html")
    return folder


def headline(row: Mapping[str, Any]) -> str:
    """The metric that numbers of views are compared in."""
    return "acc" if "acc" in row else "mae"


def with_interval(name: str, found: Mapping[str, Any], *, change: bool = False) -> list[str]:
    """A value, and its interval; a `change` has a sign, and its unit stands above it."""
    values = [found["value"], *found["interval"]]
    value, low, high = (shown(name, v, signed=change, unit=not change) for v in values)
    return [value, f"{low} to {high}"]


def markdown(found: Mapping[str, Any], plots: Sequence[str]) -> str:
    """The page of what `src.evaluate.evaluate` found, with those plots that there are."""
    parts = [
        f"# {found['model']} on {found['data']}, {found['split']}",
        "\n".join(f"- {line}" for line in [_about(found), *found["notes"]]),
        "## Numbers",
        table(
            ["", "value", "95% interval"],
            [[NAMES[k], *with_interval(k, v)] for k, v in found["metrics"].items()],
        ),
        "Intervals are bootstraps over these images, duplicates together (2,000 resamples): what"
        " other images like these would give, not what another training would.",
    ]
    if len(found["crops"]) > 1:
        parts += ["## Test-time crops", crops_table(found["crops"]), *_plots(plots, "crops")]
    if "per_class" in found:
        parts += _of_classes(found, plots)
    else:
        parts += ["## Scores", *_plots(plots, "residuals")]
        parts += ["## Largest errors", *_plots(plots, "errors")]
    return "\n\n".join(parts) + "\n"


def _about(found: Mapping[str, Any]) -> str:
    return (
        f"`{found['run']}`, weights of epoch {found['epoch']};"
        f" {found['images']:,} images of `{found['root']}`; {found['device']}"
    )


def crops_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One row a number of views: what it reaches, the change from one view, and its cost."""
    name = headline(rows[0])
    others = [k for k in ("top5_error",) if k in rows[0]]
    head = ["views", NAMES[name], "95% interval", *(NAMES[k] for k in others)]
    return table(
        [*head, "change" + ", points" * (name == "acc"), "95% interval", "seconds", "times"],
        [
            [
                str(row["crops"]),
                *with_interval(name, row[name]),
                *(shown(k, row[k]["value"]) for k in others),
                *(with_interval(name, row["gain"], change=True) if row["gain"] else ["", ""]),
                f"{row['seconds']:.1f}",
                f"{row['ratio']:.1f}",
            ]
            for row in rows
        ],
    )


def _of_classes(found: Mapping[str, Any], plots: Sequence[str]) -> list[str]:
    keys = ("precision", "recall", "f1")
    rows = [
        [row["class"], f"{row['images']:,}", *(shown("f1", row[k]) for k in keys)]
        for row in found["per_class"]
    ]
    parts = ["## Classes", table(["class", "images", *keys], rows), *_plots(plots, "confusion")]
    parts += [
        "## Calibration",
        f"Expected calibration error {found['calibration']['ece']:.3f}: how far confidence is from"
        " accuracy, on average over 15 bins.",
        *_plots(plots, "reliability"),
        "## Most confident mistakes",
        "Under each: what it shows, what was predicted, how confidently.",
    ]
    pictures = _plots(plots, "mistakes", "mistakes_by_class")
    return [*parts, *(pictures or ["There are none."])]


def _plots(there: Sequence[str], *names: str) -> list[str]:
    return [f"![{n.replace('_', ' ')}](plots/{n}.png)" for n in names if n in there]
