"""Find the resolutions that a stack of layers accepts, by a forward pass without data.

The pass runs on torch's meta device, where tensors have shapes but no values: it takes milliseconds
and almost no memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

LARGEST = 1024  # pixels; the search for an accepted resolution stops here


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Set every submodule to eval mode inside the block, and restore each mode afterwards."""
    modes = {part: part.training for part in module.modules()}
    for part in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def meta_forward(module: nn.Module, in_channels: int, resolution: int) -> Tensor:
    """Return the output of `module` in eval mode for one meta image [1, C, R, R]."""
    state = {
        name: tensor.detach().to("meta")
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    }
    images = torch.empty(1, in_channels, resolution, resolution, device="meta")
    with evaluating(module), torch.no_grad():
        output: Tensor = torch.func.functional_call(module, state, (images,))
    return output


def feature_map(features: nn.Module, in_channels: int, resolution: int) -> tuple[int, int]:
    """Return the number of channels and the side of the last feature map.

    Raises:
        ValueError: If the resolution is too small; the message has the smallest accepted one.
    """
    shape = _try(features, in_channels, resolution)
    if shape:
        return shape
    for larger in range(max(resolution, 0) + 1, LARGEST + 1):
        if _try(features, in_channels, larger):
            raise ValueError(
                f"resolution={resolution} is too small for this net: a feature map would have no "
                f"pixels; the smallest that works is {larger}"
            )
    raise ValueError(f"this net accepts no resolution from {resolution} to {LARGEST}")


def _try(features: nn.Module, in_channels: int, resolution: int) -> tuple[int, int] | None:
    try:
        shape = meta_forward(features, in_channels, resolution).shape
    except (RuntimeError, AssertionError):  # "Output size is too small", "Input height (32) ..."
        return None
    channels, side = shape[1], shape[2] if len(shape) > 2 else 1
    return (channels, side) if side > 0 else None
