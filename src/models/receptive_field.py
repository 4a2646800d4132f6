"""How much of the image one value of a feature map sees, and how far apart two neighbours look.

The recursion of Araujo, Norris and Sim ("Computing Receptive Fields of Convolutional Neural
Networks", Distill 2019): a window of k values with stride s takes (field, jump) in pixels to
(field + (k - 1) * jump, s * jump). Padding shifts a field and does not change its size.
"""

import math
from typing import Any

from torch import Tensor, nn

WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
Field = tuple[int, int]
"""Side of the field and distance of neighbouring fields, both in pixels."""


class ReceptiveFields:
    """Follows the feature maps of one forward pass through the layers of a net.

    Where branches have met outside of any layer (the sum of a residual block, a concatenation), the
    field is the largest among the maps of that size so far.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Tensor, Field]] = []

    def after(self, layer: nn.Module, maps: Tensor, output: Tensor) -> Field | None:
        """The field of a value of `output`, or None where it is no map, or what it saw is unknown.

        Args:
            layer: the layer that was called.
            maps: its input, [N, C, H, W].
            output: [N, C', H', W'].
        """
        before = self._before(maps)
        if before is None or output.dim() != 4:
            return None
        size, stride = _window(layer, maps, output)
        field = before[0] + (size - 1) * before[1], before[1] * stride
        self._known.append((output, field))  # the tensor too: it must not be mistaken for another
        return field

    def _before(self, maps: Tensor) -> Field | None:
        if not self._known:
            return (1, 1)  # the image
        exact = [field for tensor, field in self._known if tensor is maps]
        alike = [field for tensor, field in self._known if tensor.shape[2:] == maps.shape[2:]]
        return exact[-1] if exact else max(alike, default=None)


def _window(layer: nn.Module, maps: Tensor, output: Tensor) -> tuple[int, int]:
    if isinstance(layer, WINDOWS):
        dilation = _side(getattr(layer, "dilation", 1))
        return dilation * (_side(layer.kernel_size) - 1) + 1, _side(layer.stride)
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        given, wanted = maps.shape[-1], output.shape[-1]
        return math.ceil(given / wanted), max(1, given // wanted)
    return 1, 1


def _side(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)
