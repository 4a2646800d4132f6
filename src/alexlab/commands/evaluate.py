"""How good a trained net is: `alexlab evaluate RUN_DIR --crops 1 10 144`.

Writes RUN_DIR/evaluation/: evaluation.md, evaluation.json, plots/*.png, and evaluation.html, a page
that needs nothing else. RUN_DIR may be best:SWEEP_DIR, the best run of a sweep whose weights were
kept. Another data set is taken if it has the same classes: --data root=FOLDER.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexlab.errors import user_errors
from alexlab.runs import locate

if TYPE_CHECKING:  # torch is imported when there is something to do
    from alexlab.data.datamodule import ImageFolderData
    from alexlab.evaluation.inference import Crops
    from alexlab.evaluation.loading import LoadedRun


def evaluate(
    run: Path, *, settings: Sequence[str] = (), crops: Sequence[int] = (1,), split: str = "test"
) -> Path:
    """Evaluate `run`, print its scores and write what came out; the folder that holds it.

    Args:
        run: A finished run's folder.
        settings: Of the data, such as `root=FOLDER`; its classes must be the run's.
        crops: Numbers of views, 1, 10, 144; 1 is always among them.
        split: `test`, `val`, or `all` images.

    Raises:
        ValueError: Other classes, or a setting that cannot work.
        FileNotFoundError: The data is not there.
    """
    import numpy as np

    from alexlab.evaluation import loading, plots, scores
    from alexlab.evaluation.report import write
    from alexlab.evaluation.scores import GroupBootstrap
    from alexlab.runs import provenance

    net = loading.load_run(run)
    views = [net.crops(number) for number in sorted({1, *crops})]
    data = net.data(settings)
    rows = np.sort(np.concatenate(list(data.rows.values()))) if split == "all" else data.rows[split]
    paths, targets = data.store.paths(rows), data.targets[rows]
    resampled = GroupBootstrap(data.store.index().twins[rows])
    compared = scores.compare(net.predict, views, paths, targets, resampled)
    predictions = compared[0].pop("predictions")
    judge = scores.classification if net.classes else scores.regression
    found: dict[str, Any] = {
        "run": str(net.folder),
        "model": net.cfg.model["_target_"].rsplit(".", 1)[-1],
        "data": data.name,
        "root": str(data.files.root),
        "split": split,
        "images": len(rows),
        "epoch": net.checkpoint["epoch"],
        "device": provenance.hardware(net.device),
        "notes": [*_notes(net, data, split, views), *map(str, views[1:])],
        **judge(predictions, targets, net.classes, resampled),
        "crops": compared,
    }
    seen = plots.Predictions(paths, targets, predictions, net.classes, net.cfg.data.fit)
    return write(found, seen, net.folder / "evaluation")


def _notes(
    net: "LoadedRun", data: "ImageFolderData", split: str, views: Sequence["Crops"]
) -> list[str]:
    notes = list(data.notes)
    if data.fingerprint != net.checkpoint["fingerprint"]:
        notes.append(
            "these are not the images that the run was trained and tested on: by what they hold,"
            " or by their names"
        )
    elif split == "all":
        notes.append("with the images that the run was trained on")
    if len(views) > 1 and not net.cfg.augment.get("crop"):
        notes.append("the net was trained without augment.crop: crops show it what it has not met")
    return notes


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = locate.parser("evaluate", __doc__)
    parser.add_argument("--data", nargs="+", default=[], metavar="KEY=VALUE", help="root=FOLDER")
    parser.add_argument(
        "--crops", nargs="+", type=int, default=[1], choices=(1, 10, 144), help="views an image"
    )
    parser.add_argument("--split", choices=("test", "val", "all"), default="test")
    options = parser.parse_args(arguments)
    with user_errors():
        run = locate.resolve_run_dir(options.run)
        evaluate(run, settings=options.data, crops=options.crops, split=options.split)


if __name__ == "__main__":
    main()
