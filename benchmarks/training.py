"""Training speed side by side: `python -m benchmarks.training`, with DATA_DIR set.

AlexNet of torchvision's size, batch 16, SGD with momentum, the pokemon images. The contestants run
in turn, each in a process of its own, and all of it three times, since machines are noisy: what
counts is the median of the ratios within a round. Images/s are those of the training part of the
epochs after the first, as `metrics.json` has them for ours.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from alexlab.data.files import find_class_images
from alexlab.runs.provenance import git_commit, hardware

CONTESTANTS = {  # (module or "ours", precision)
    "a  a script by hand": ("student", "32-true"),
    "b  vanilla Lightning": ("vanilla_lightning", "32-true"),
    "c  ours": ("ours", "32-true"),
    "d  limit, bare loop": ("limit", "32-true"),
    "c' ours, bf16-mixed": ("ours", "bf16-mixed"),
    "d' limit, bf16-mixed": ("limit", "bf16-mixed"),
    "c'' ours, bf16-true": ("ours", "bf16-true"),
    "d'' limit, bf16-true": ("limit", "bf16-true"),
}
LIMITS = {
    "c  ours": "d  limit, bare loop",
    "c' ours, bf16-mixed": "d' limit, bf16-mixed",
    "c'' ours, bf16-true": "d'' limit, bf16-true",
}
RESULTS = Path(__file__).with_name("results")


def speed(
    name: str, precision: str, root: Path, resolution: int, images: int, args: argparse.Namespace
) -> float:
    """Images/s of one contestant."""
    if name == "ours":
        return ours(root, resolution, args.epochs, precision, args.fraction)
    command = [f"benchmarks.{name}", f"--resolution={resolution}", f"--images={images}"]
    command += [f"--epochs={args.epochs}"]
    command += [f"--precision={precision}"] if name == "limit" else [str(root)]
    result = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=True
    )
    return float(result.stdout.split()[-1])


def ours(root: Path, resolution: int, epochs: int, precision: str, fraction: float) -> float:
    """Images/s of `python -m src.train`."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            "model=alexnet_torchvision",
            "data=pokemon",
            f"data.root={root}",
            f"data.resolution={resolution}",
            "data.batch_size=16",
            f"trainer.max_epochs={epochs}",
            f"trainer.precision={precision}",
            f"data.fraction={fraction}",
            f"hydra.run.dir={folder}/run",
        ]
        command = [sys.executable, "-m", "alexlab", "train", *overrides]
        subprocess.run(command, capture_output=True, check=True)
        metrics = json.loads((Path(folder) / "run/metrics.json").read_text())
        return float(metrics["images_per_s"])


def main() -> None:
    """Run all contestants in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--fraction", type=float, default=1.0, help="of the training images")
    args = parser.parse_args()
    if "DATA_DIR" not in os.environ:
        sys.exit("set DATA_DIR to the folder that holds pokemon/<class>/*")
    root = Path(os.environ["DATA_DIR"]) / "pokemon"
    images = round(0.7 * args.fraction * len(find_class_images(root).paths))  # as ours trains on
    for resolution in args.resolution:
        ours(root, resolution, 1, "32-true", 0.1)  # decodes, once, so that no round pays for it
        rounds = [
            {
                name: speed(*contestant, root, resolution, images, args)
                for name, contestant in CONTESTANTS.items()
            }
            for _ in range(args.rounds)
        ]
        text = "\n".join([*heading(images, args), *table(resolution, rounds)])
        print(text, flush=True)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{resolution}px.md").write_text(f"# Training speed\n\n{text}\n")


def heading(images: int, args: argparse.Namespace) -> list[str]:
    """Return what was run, and on what."""
    device = hardware(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return [
        "Written by `python -m benchmarks.training`: torchvision's AlexNet, batch 16, SGD with",
        f"momentum, {images} Pokémon images; images/s of training in epochs 2 to {args.epochs}.",
        f"{args.rounds} rounds, the contestants in turn, each in its own process; medians, and",
        "medians of the ratios within a round.",
        f"On: {device}, torch {torch.__version__}, commit {git_commit()}.",
    ]


def table(resolution: int, rounds: list[dict[str, float]]) -> list[str]:
    """Medians over the rounds, and the medians of the ratios within a round."""
    lines = [
        "",
        f"| {resolution} px | images/s | against (a) | against the limit |",
        "|---|--:|--:|--:|",
    ]
    for name in CONTESTANTS:
        speed_ = statistics.median(r[name] for r in rounds)
        to_script = statistics.median(r[name] / r["a  a script by hand"] for r in rounds)
        limit = LIMITS.get(name)
        to_limit = f"{statistics.median(r[name] / r[limit] for r in rounds):.2f}" if limit else ""
        lines.append(f"| {name} | {speed_:.1f} | {to_script:.2f} | {to_limit} |")
    return lines


if __name__ == "__main__":
    main()
