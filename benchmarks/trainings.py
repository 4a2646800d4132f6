"""Measure one training: steps beside a bare loop, images/s and whole commands beside others."""

import json
import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from alexlab.data.files import find_class_images
from benchmarks.process import ALEXLAB, PYTHON, run
from benchmarks.table import Goal, Options, Row, UnavailableError

NETS = {  # the nets of benchmarks.steps, whose import takes seconds
    "small_cnn": "small_cnn, 32 px, batch 8",
    "score_cnn": "score_cnn, 128 px, batch 32",
    "alexnet": "alexnet, 64 px, batch 8",
    "alexnet_torchvision": "torchvision's AlexNet, 64 px, batch 16",
    "alexnet_torchvision_224": "torchvision's AlexNet, 224 px, batch 16",
}
PRECISIONS = {"32-true": "fp32", "bf16-mixed": "bf16-mixed"}
SCRIPT, LIGHTNING, OURS = "a script by hand", "plain Lightning", "alexlab"
FRACTIONS = {64: 0.4, 224: 0.14}  # of the training images, so that a round takes a minute
PART = 0.35  # share of the training images for whole commands


def pokemon() -> Path:
    """Return the folder of the Pokémon images.

    Raises:
        UnavailableError: DATA_DIR has no folder pokemon.
    """
    root = Path(os.environ.get("DATA_DIR", "data")).absolute() / "pokemon"
    if not root.is_dir():
        raise UnavailableError("not measured: set DATA_DIR to the folder that holds pokemon/")
    return root


def step(net: str, precision: str, options: Options) -> Mapping[str, float]:
    """Return ms per step of alexlab and of the bare loop, which run alternately in one process."""
    command = [PYTHON, "-m", "benchmarks.steps", net, f"--precision={precision}"]
    command += ["--steps=20"] * options.quick
    with tempfile.TemporaryDirectory() as folder:
        _, printed = run(command, Path(folder))
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def images_in_train(fraction: float) -> int:
    """Return the number of images that alexlab trains on with `data.fraction`."""
    return round(0.7 * fraction * len(find_class_images(pokemon()).paths))


def peer_speed(module: str, resolution: int, options: Options) -> float:
    """Return the images/s of a module of benchmarks/peers: script or lightning_run."""
    images = 32 if options.quick else images_in_train(FRACTIONS[resolution])
    command = [PYTHON, "-m", f"benchmarks.peers.{module}", pokemon(), f"--images={images}"]
    with tempfile.TemporaryDirectory() as folder:
        _, printed = run([*command, f"--resolution={resolution}"], Path(folder))
    return float(printed.split()[-1])


def our_speed(resolution: int, precision: str, options: Options) -> float:
    """Return the images/s of `alexlab train`, in the epochs after the first."""
    fraction = 0.1 if options.quick else FRACTIONS[resolution]
    settings = [f"data.resolution={resolution}", f"trainer.precision={precision}"]
    with tempfile.TemporaryDirectory() as folder:
        run([*our_run(3), *settings, f"data.fraction={fraction}"], Path(folder))
        (metrics,) = Path(folder).glob("multirun/single/*/metrics.json")
        return float(json.loads(metrics.read_text())["images_per_s"])


def our_run(epochs: int) -> list[str]:
    """Return the command of a run of torchvision's AlexNet on the Pokémon images."""
    settings = ["model=alexnet_torchvision", "data=pokemon", f"data.root={pokemon()}"]
    return [*ALEXLAB, "train", *settings, f"trainer.max_epochs={epochs}"]


def whole_run(options: Options) -> Mapping[str, float]:
    """Return the seconds of a command: with decoding the first time, without it the second time."""
    more = [f"data.fraction={0.1 if options.quick else PART}"]
    with tempfile.TemporaryDirectory() as folder:
        command = [*our_run(3), *more]
        return {name: run(command, Path(folder))[0] for name in ("first time", "again")}


def whole_lightning(options: Options) -> float:
    """Return the seconds of plain Lightning for the same training, val and test."""
    images = 32 if options.quick else images_in_train(PART)
    command = [PYTHON, "-m", "benchmarks.peers.lightning_run", pokemon(), "--resolution=64"]
    with tempfile.TemporaryDirectory() as folder:
        return run([*command, f"--images={images}"], Path(folder))[0]


def rows() -> list[Row]:
    """Return the rows about one training."""
    found = []
    for net, title in NETS.items():
        for precision, short in PRECISIONS.items():
            found.append(
                Row(
                    f"step-{net}-{short}",
                    "A step",
                    f"{title}, {short}",
                    "ms",
                    {"step": partial(step, net, precision)},
                    goals=[Goal("step: alexlab", 0.95, "step: bare loop")],
                    base="step: bare loop",
                )
            )
    for resolution, factor in ((64, 2.0), (224, 1.4)):
        found.append(
            Row(
                f"training-{resolution}",
                "A training",
                f"torchvision's AlexNet, {resolution} px, batch 16",
                "images/s",
                {
                    SCRIPT: partial(peer_speed, "script", resolution),
                    LIGHTNING: partial(peer_speed, "lightning_run", resolution),
                    OURS: partial(our_speed, resolution, "32-true"),
                    f"{OURS}, bf16-mixed": partial(our_speed, resolution, "bf16-mixed"),
                    **(
                        {f"{OURS}, bf16-true": partial(our_speed, resolution, "bf16-true")}
                        if resolution == 64
                        else {}
                    ),
                },
                more_is_better=True,
                goals=[Goal(OURS, factor, SCRIPT)],
                base=SCRIPT,
            )
        )
    whole = "3 epochs of it on 286 images of 64 px, from the command to its end"
    peers = {LIGHTNING: whole_lightning, OURS: whole_run}
    found.append(Row("run", "A training", whole, "s", peers, base=LIGHTNING))
    return found
