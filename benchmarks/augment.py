"""Measure the cost of each augmentation and representation: `python -m benchmarks.augment`.

A batch has 16 images of 73 pixels, cropped to 64. The training step is that of torchvision's
AlexNet with SGD and momentum, in fp32 and bf16. A view is a batch as the network sees it. All
contestants run alternately in 30 rounds; the tables have medians, and minima for a busy machine.
The cost of an augmentation is the time of its view minus that of the view without augmentation. The
libraries are torchvision, called for each image (its transforms draw once per batch), and kornia if
it is installed; the conversion of their inputs to floats of the right size is not measured.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn
from torchvision.transforms import v2

from alexlab.data.preprocess import Preprocess
from alexlab.data.representation import REPRESENTATIONS
from alexlab.performance.malloc import set_malloc_thresholds
from alexlab.runs.config import CONF

BATCH, LOADED, SEEN = 16, 73, 64
Contestants = dict[str, Callable[[], object]]


def steps() -> Contestants:
    """Return a training step in each precision."""
    net = torchvision.models.alexnet(num_classes=5).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, fused=True)
    images = torch.randn(BATCH, 3, SEEN, SEEN).to(memory_format=torch.channels_last)
    targets = torch.randint(5, (BATCH,))

    def step(bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(net(images).float(), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return {"step fp32": lambda: step(False), "step bf16": lambda: step(True)}


def views(images: Tensor) -> Contestants:
    """Return our views, one for each file of conf/augment and each representation."""

    def view(**settings: object) -> Callable[[], Tensor]:
        module = Preprocess(SEEN, **settings)  # type: ignore[arg-type]
        return lambda: module(images, training=True)

    with initialize_config_dir(str(CONF), version_base="1.3"):
        names = sorted(path.stem for path in (CONF / "augment").glob("*.yaml"))
        configs = {name: compose("train", [f"augment={name}"]).augment for name in names}
    ours = {f"ours {name}": view(augment=instantiate(c)) for name, c in configs.items()}
    return ours | {f"ours {n}": view(representation=n) for n in REPRESENTATIONS if n != "rgb"}


def torchvisions(seen: Tensor, loaded: Tensor) -> Contestants:
    """Return torchvision's transforms, called for each image."""
    flip, crop = v2.RandomHorizontalFlip(), v2.RandomCrop(SEEN)
    affine = v2.RandomAffine(15, (0.1, 0.1), (0.8, 1.2), 6, v2.InterpolationMode.BILINEAR)
    colour, rand = v2.ColorJitter(0.3, 0.3, 0.3), v2.RandAugment(2, 9)

    def each(images: Tensor, *transforms: nn.Module) -> Callable[[], Tensor]:
        sequence = v2.Compose(transforms)
        return lambda: torch.stack([sequence(image) for image in images])

    pixels = (255 * seen).to(torch.uint8)
    return {
        "torchvision flip": each(seen, flip),
        "torchvision crop": each(loaded, crop),
        "torchvision affine": each(seen, flip, affine),
        "torchvision colour": each(seen, colour),
        "torchvision randaugment": each(pixels, flip, rand),
    }


def kornias(seen: Tensor, loaded: Tensor) -> Contestants:
    """Return kornia's transforms; its RandAugment draws the operations once per batch."""
    import kornia.augmentation as K
    from kornia.augmentation.auto import RandAugment

    flip, crop = K.RandomHorizontalFlip(), K.RandomCrop((SEEN, SEEN))
    affine = K.RandomAffine(15, (0.1, 0.1), (0.8, 1.2, 0.8, 1.2), 6, padding_mode="border", p=1.0)
    colour, rand = K.ColorJiggle(0.3, 0.3, 0.3, p=1.0), RandAugment(2, 9)
    return {
        "kornia flip": lambda: flip(seen),
        "kornia crop": lambda: crop(loaded),
        "kornia affine": lambda: affine(flip(seen)),
        "kornia colour": lambda: colour(seen),
        "kornia randaugment": lambda: rand(flip(seen)),
    }


def main() -> None:
    """Time all contestants alternately and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    set_malloc_thresholds()
    images = torch.randint(256, (BATCH, 3, LOADED, LOADED), dtype=torch.uint8)
    seen, loaded = torch.rand(BATCH, 3, SEEN, SEEN), images / 255
    contestants = steps() | views(images) | torchvisions(seen, loaded)
    with contextlib.suppress(ImportError):
        contestants |= kornias(seen, loaded)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(args.rounds + 3):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - start))
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {args.rounds} rounds")
    for title, statistic in (("medians", statistics.median), ("least", min)):
        report(title, {name: statistic(taken[3:]) for name, taken in times.items()})


def report(title: str, times: dict[str, float]) -> None:
    """Print a table of milliseconds and shares of a step."""
    fp32, bf16, none = (times[name] for name in ("step fp32", "step bf16", "ours none"))
    print(f"\n{title}: a step {fp32:.1f} ms in fp32, {bf16:.1f} ms in bf16; a view {none:.2f} ms")
    print(f"{'':26} {'ms':>6} {'of fp32':>8} {'of bf16':>8}")
    for name, taken in list(times.items())[2:]:
        cost = taken - none if name.startswith("ours") and name != "ours none" else taken
        print(f"{name:26} {cost:6.2f} {cost / fp32:8.1%} {cost / bf16:8.1%}")


if __name__ == "__main__":
    main()
