"""Draw the first filters and the feature maps of a net as grids of images."""

from contextlib import ExitStack

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.utils import make_grid

from alexlab.models.resolution import evaluating

CELL, FILTER = 64, 44  # pixels: sides of a feature map and of a filter in the grid
MAPS, LAYERS = 12, 5  # feature maps per row; rows per image


def convolutions(net: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions of `net` in the order in which they are defined."""
    return [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]


def filters(net: nn.Module) -> Tensor:
    """Draw the kernels of the first convolution: float [3, H, W] in [0, 1]; a weight of 0 is grey.

    Kernels of three channels are shown in colour, others by their first channel. All kernels share
    one scale.
    """
    kernels = convolutions(net)[0].weight.detach().float().cpu()
    kernels = kernels if kernels.shape[1] == 3 else kernels[:, :1].expand(-1, 3, -1, -1)
    shown = 0.5 + kernels / (2 * kernels.abs().amax().clamp(min=1e-12))
    columns = max(8, round(len(kernels) ** 0.5 * 1.5))
    grid: Tensor = make_grid(F.interpolate(shown, FILTER), columns, padding=3, pad_value=1)
    return grid


def feature_maps(net: nn.Module, images: Tensor, pixels: Tensor) -> Tensor:
    """Draw one row per image and layer: the image, then its strongest feature maps (after ReLU).

    Strongest are those with the largest mean. Each map is scaled by its own maximum.

    Args:
        net: Evaluated in eval mode; each mode is restored.
        images: Input of the net, [N, C, R, R].
        pixels: The same images for display, float [N, 3, R, R] in [0, 1].

    Returns:
        float [3, H, W] in [0, 1]
    """
    layers = convolutions(net)
    chosen = {round(i * (len(layers) - 1) / (LAYERS - 1)) for i in range(LAYERS)}
    layers = [layers[i] for i in sorted(chosen)]
    seen: list[Tensor] = []
    with ExitStack() as hooks, evaluating(net), torch.no_grad():
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(lambda *call: seen.append(call[2])))
        net(images)
    rows = []
    for number in range(len(images)):
        image = F.interpolate(pixels[number : number + 1].float().cpu(), CELL)
        for layer_maps in seen[: len(layers)]:
            rows.append(torch.cat([image, _strongest(layer_maps[number].float().cpu())]))
    grid: Tensor = make_grid(torch.cat(rows), MAPS + 1, padding=3, pad_value=1)
    return grid


def _strongest(maps: Tensor) -> Tensor:
    """Return the maps of [C, H, W] with the largest mean after ReLU: [MAPS, 3, CELL, CELL]."""
    order = maps.clamp(min=0).mean((1, 2)).argsort(descending=True)[:MAPS]
    chosen = maps[order].clamp(min=0)
    chosen = chosen / chosen.amax((1, 2), keepdim=True).clamp(min=1e-12)
    cells = F.interpolate(chosen[:, None], CELL).expand(-1, 3, -1, -1)
    return torch.cat([cells, cells.new_ones(MAPS - len(cells), 3, CELL, CELL)])
