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

from src.data.files import find_class_images

CONTESTANTS = {
    "a  a script by hand": "student",
    "b  vanilla Lightning": "vanilla",
    "c  ours": "ours",
    "d  limit, bare loop": "limit",
    "c' ours, bf16": "ours bf16",
    "d' limit, bf16": "limit bf16",
}


def speed(contestant: str, root: Path, resolution: int, images: int, epochs: int) -> float:
    """Images/s of one contestant."""
    size = [f"--resolution={resolution}", f"--images={images}", f"--epochs={epochs}"]
    bf16 = contestant.endswith("bf16")
    if contestant.startswith("ours"):
        return ours(root, resolution, epochs, "bf16-mixed" if bf16 else "32-true")
    if contestant.startswith("limit"):
        command = ["benchmarks.limit", *size, *["--bf16"] * bf16]
    else:
        module = "student" if contestant == "student" else "vanilla_lightning"
        command = [f"benchmarks.{module}", str(root), *size]
    result = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=True
    )
    return float(result.stdout.split()[-1])


def ours(root: Path, resolution: int, epochs: int, precision: str) -> float:
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
            f"hydra.run.dir={folder}/run",
        ]
        command = [sys.executable, "-m", "src.train", *overrides]
        subprocess.run(command, capture_output=True, check=True)
        metrics = json.loads((Path(folder) / "run/metrics.json").read_text())
        return float(metrics["images_per_s"])


def main() -> None:
    """Run all contestants in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    if "DATA_DIR" not in os.environ:
        sys.exit("set DATA_DIR to the folder that holds pokemon/<class>/*")
    root = Path(os.environ["DATA_DIR"]) / "pokemon"
    images = round(0.7 * len(find_class_images(root).paths))  # what ours trains on
    ours(root, min(args.resolution), 1, "32-true")  # decodes, once, so that no round pays for it
    for resolution in args.resolution:
        rounds = [
            {name: speed(key, root, resolution, images, args.epochs) for name, key in CONTESTANTS.items()}
            for _ in range(args.rounds)
        ]
        show(resolution, rounds)


def show(resolution: int, rounds: list[dict[str, float]]) -> None:
    """Medians over the rounds, and the medians of the ratios within a round."""
    first, limits = next(iter(CONTESTANTS)), {"c ": "d  limit, bare loop", "c'": "d' limit, bf16"}
    print(f"\n{resolution} px, {len(rounds)} rounds      images/s   against (a)   against (d)")
    for name in CONTESTANTS:
        median = statistics.median(r[name] for r in rounds)
        to_script = statistics.median(r[name] / r[first] for r in rounds)
        limit = limits.get(name[:2])
        to_limit = f"{statistics.median(r[name] / r[limit] for r in rounds):10.2f}" if limit else ""
        print(f"{name:24}{median:10.1f}{to_script:13.2f}x {to_limit}")


if __name__ == "__main__":
    main()
