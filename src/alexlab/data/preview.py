"""Draw images of train as the network sees them: a row per image.

A row has the image without augmentation, then `DRAWS` draws of the augmentation, and, for other
representations than RGB, the first draw's channels, black and white at 2.5 scales from 0.
"""

import torch
from torch import Tensor

from alexlab.data.datamodule import ImageFolderData

DRAWS, IMAGES, SHOWN, GAP = 4, 8, 128, 4  # SHOWN: least side of an image on the picture, pixels


def preview(data: ImageFolderData, *, seed: int, channels: bool) -> tuple[Tensor, list[str]]:
    """Draw the first images of train as the network sees them.

    Args:
        data: The data set.
        seed: Of the augmentation.
        channels: Whether to add the channels of the representation.

    Returns:
        The picture, uint8 [3, height, width], and the class or score of each of its rows.
    """
    images, targets = (some[:IMAGES] for some in next(iter(data.train_dataloader())))
    preprocess = data.preprocess
    torch.manual_seed(seed)
    columns = [preprocess.pixels(images, training=drawn > 0) for drawn in range(1 + DRAWS)]
    if channels:
        seen = preprocess.representation(columns[1]) / 5 + 0.5
        columns += [channel.expand(-1, 3, -1, -1) for channel in seen.split(1, 1)]
    enlarge = max(1, round(SHOWN / data.resolution))
    cells = torch.stack(columns, 1).clamp(0, 1)  # [rows, columns, 3, R, R]
    cells = cells.repeat_interleave(enlarge, 3).repeat_interleave(enlarge, 4)
    framed = torch.nn.functional.pad(cells, (0, GAP, 0, GAP), value=1.0)
    picture = framed.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    names = [data.classes[t] if data.classes else f"{t:g}" for t in targets.tolist()]
    return (255 * picture).round().to(torch.uint8), names
