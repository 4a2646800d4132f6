"""Draw training images as the network receives them, one row per image.

A row shows the image without augmentation, then with `DRAWS` random augmentations. For
representations other than RGB, the channels of the first augmented image follow: -2.5 (after
standardisation) is black, 2.5 is white.
"""

import torch
from torch import Tensor

from alexlab.data.datamodule import ImageFolderData

DRAWS, IMAGES, SHOWN, GAP = 4, 8, 128, 4  # SHOWN: about the side of a drawn image, in pixels


def preview(data: ImageFolderData, *, seed: int, channels: bool) -> tuple[Tensor, list[str]]:
    """Draw the first `IMAGES` training images as the network receives them.

    Args:
        data: The prepared data set.
        seed: Seed of the augmentation.
        channels: Whether to add the channels of the representation.

    Returns:
        The picture, uint8 [3, height, width], and the class or score of each row.
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
