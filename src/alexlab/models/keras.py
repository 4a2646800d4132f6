"""Keras's "same" padding, Glorot weights and zero biases, which torch does not have by default.

The articles' nets were written in Keras; with these functions they are the same nets here.
"""

from torch import Tensor, nn
from torch.nn import functional


class SameConv2d(nn.Conv2d):
    """Convolution whose output has ceil(side / stride) pixels, as Keras's padding="same".

    Maps [N, C, H, W] -> [N, K, ceil(H / stride), ceil(W / stride)]. An odd sum of padding puts
    the larger half to the right and below; torch's own padding is always symmetric.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Pad with zeros, then convolve."""
        padding: list[int] = []
        for axis in (1, 0):  # functional.pad starts with the last axis
            side, size, stride = maps.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            total = max((-(-side // stride) - 1) * stride + size - side, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(functional.pad(maps, padding))


def same_pool() -> nn.MaxPool2d:
    """Build max pooling 2x2, stride 2, padding="same": an odd side is rounded up.

    A padded value is never the maximum.
    """
    return nn.MaxPool2d(2, 2, ceil_mode=True)


def glorot(net: nn.Module) -> None:
    """Initialise every convolution and linear layer as Keras does (Glorot and Bengio 2010)."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
