"""Shows what the net will see: `alexlab data preview data=flower augment=alexnet`.

A picture with a row an image of train: as it is without augmentation, after four draws of it, and,
for other representations than RGB, the first draw's channels, black and white at 2.5 scales from 0.
"""

import argparse
from pathlib import Path

import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from alexlab import factory
from alexlab.errors import user_errors
from alexlab.runs import config as run_config

DRAWS, IMAGES, SHOWN, GAP = 4, 8, 128, 4  # SHOWN: least side of an image on the picture, pixels


def preview(cfg: DictConfig) -> tuple[Tensor, list[str]]:
    """The picture, uint8 [3, height, width], and the class or score of each of its rows.

    Prints the notes on the data.
    """
    data = factory.data_module(cfg)
    print(*data.notes, sep="\n")
    images, targets = (some[:IMAGES] for some in next(iter(data.train_dataloader())))
    view = data.view
    torch.manual_seed(cfg.seed)
    columns = [view.pixels(images, training=drawn > 0) for drawn in range(1 + DRAWS)]
    if cfg.data.representation != "rgb":
        seen = view.represent(columns[1]) / 5 + 0.5
        columns += [channel.expand(-1, 3, -1, -1) for channel in seen.split(1, 1)]
    enlarge = max(1, round(SHOWN / data.resolution))
    cells = torch.stack(columns, 1).clamp(0, 1)  # [rows, columns, 3, R, R]
    cells = cells.repeat_interleave(enlarge, 3).repeat_interleave(enlarge, 4)
    framed = torch.nn.functional.pad(cells, (0, GAP, 0, GAP), value=1.0)
    picture = framed.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    names = [data.classes[t] if data.classes else f"{t:g}" for t in targets.tolist()]
    return (255 * picture).round().to(torch.uint8), names


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="alexlab data preview")
    parser.add_argument("settings", nargs="*", help="as for src.train: data=flower augment=alexnet")
    parser.add_argument("--out", type=Path, default=Path("multirun/preview.png"), help="PNG file")
    args = parser.parse_args(arguments)
    with user_errors():
        picture, names = preview(run_config.compose_config(args.settings))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(args.out, format="PNG")
        print(f"rows: {', '.join(names)}")
        print(f"columns: without augmentation, {DRAWS} draws of training, channels if not RGB")
        print(args.out)


if __name__ == "__main__":
    main()
