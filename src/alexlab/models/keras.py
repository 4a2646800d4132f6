"""Provide Keras's "same" padding and initial weights (Glorot, zero biases).

The articles' nets were written in Keras, and torch's defaults differ.
"""

from torch import Tensor, nn
from torch.nn import functional


class SameConv2d(nn.Conv2d):
    """Convolve maps [N, C, H, W] to [N, K, ceil(H / stride), ceil(W / stride)], padding="same".

    If the total padding is odd, the right and the bottom get the larger part, as in Keras; torch's
    own padding is always symmetric.
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
    """Build 2x2 max pooling with stride 2 and padding="same": side S becomes ceil(S / 2)."""
    return nn.MaxPool2d(2, 2, ceil_mode=True)


def glorot(net: nn.Module) -> None:
    """Initialise all Conv2d and linear layers like Keras (Glorot and Bengio 2010), biases 0."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
