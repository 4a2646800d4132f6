"""Summarise a net: one row per layer, and the totals that articles report.

Krizhevsky et al. 2012 report "60M parameters, 650K neurons": neurons are the output values of
convolutions and linear layers for one image.
"""

import math
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

from torch import Tensor, nn

from alexlab.models.blocks import AveragePool
from alexlab.models.resolution import meta_forward

WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
Field = tuple[int, int]
"""Side of a receptive field, and distance between neighbouring fields, in pixels of the image."""


class ReceptiveFields:
    """Compute the receptive fields of the feature maps of one forward pass, layer by layer.

    If the input of a layer is not the output of a layer (the sum of a residual block, a
    concatenation), its field is the largest field of the earlier maps of that size.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Tensor, Field]] = []

    def after(self, layer: nn.Module, maps: Tensor, output: Tensor) -> Field | None:
        """Return the field of a value of `output`; None if it is not a map or `maps` is unknown.

        Args:
            layer: The layer that was called.
            maps: Its input [N, C, H, W].
            output: Its output [N, C', H', W'].
        """
        before = self._before(maps)
        if before is None or output.dim() != 4:
            return None
        size, stride = _window(layer, maps, output)
        field = before[0] + (size - 1) * before[1], before[1] * stride
        self._known.append((output, field))  # a stored tensor's id cannot be reused by another
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
    if isinstance(layer, nn.AdaptiveAvgPool2d | AveragePool):
        given, wanted = maps.shape[-1], output.shape[-1]
        return math.ceil(given / wanted), max(1, given // wanted)
    return 1, 1


def _side(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


Conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Row:
    """Describe one call of a layer for one image; only the first call counts its `params`."""

    name: str  # such as features.conv1
    kind: str  # class, such as Conv2d
    input_shape: tuple[int, ...]  # without the batch dimension, such as (3, 64, 64)
    output_shape: tuple[int, ...]  # such as (96, 15, 15)
    params: int
    neurons: int  # outputs of a convolution or linear layer, else 0
    macs: int  # multiply-adds of a convolution or linear layer, else 0
    step: bool  # whether this is a convolution or pooling: its output is a new feature map
    field: Field | None


@dataclass(frozen=True)
class Summary:
    """Hold the rows of a net at one resolution, and their totals."""

    name: str
    rows: tuple[Row, ...]
    params: int
    trainable: int
    notes: tuple[str, ...] = ()

    @property
    def neurons(self) -> int:
        """Count the outputs of all convolutions and linear layers."""
        return sum(row.neurons for row in self.rows)

    @property
    def macs(self) -> int:
        """Count the multiply-adds of one image's forward pass."""
        return sum(row.macs for row in self.rows)

    @property
    def weight_layers(self) -> int:
        """Count the calls of convolutions and linear layers; AlexNet has "eight layers"."""
        return sum(row.neurons > 0 for row in self.rows)

    @property
    def map_sizes(self) -> tuple[int, ...]:
        """Return the side of the feature map after each convolution and pooling, in pixels."""
        return tuple(row.output_shape[-1] for row in self.rows if row.step)

    @property
    def last_map(self) -> tuple[int, ...]:
        """Return (channels, height, width) of the last feature map; () if the net has none."""
        seen = [(row.input_shape, row.output_shape if row.step else ()) for row in self.rows]
        maps = [shape for shapes in seen for shape in shapes if len(shape) == 3]
        return maps[-1] if maps else ()

    @property
    def junction(self) -> str:
        """Describe the last map and the first linear layer, as in "1x1x256 -> fc 4096"."""
        if not self.last_map:
            return ""
        channels, height, width = self.last_map
        text = f"{height}x{width}x{channels}"
        for row in self.rows:
            if row.kind == "Linear":
                fed = row.input_shape[-1]
                pooled = "" if fed == prod(self.last_map) else f" -> {fed} inputs"
                return f"{text}{pooled} -> fc {row.output_shape[-1]}"
        return text

    def headline(self) -> str:
        """Format one line: name, parameters, neurons, feature maps, the head's input, notes."""
        sizes = self.map_sizes
        if len(sizes) > 12:  # for deep nets list each size once, without side branches
            sizes = tuple(sorted({s for s in sizes if s >= self.last_map[-1]}, reverse=True))
        frozen = "" if self.trainable == self.params else f" ({short(self.trainable)} trained)"
        parts = [
            f"{self.name} {short(self.params)} parameters{frozen}",
            f"{short(self.neurons)} neurons",
            f"{self.weight_layers} weight layers",
            f"feature maps {'-'.join(map(str, sizes))}" if sizes else "",
            self.junction,
            *self.notes,
        ]
        return ", ".join(filter(None, parts))


def short(count: int) -> str:
    """Format a count in short form: 23.9M for 23,908,037; 99K for 98,720; 512 for 512."""
    if count >= 999_500:
        return f"{count / 1e6:.1f}M"
    return f"{count / 1e3:.0f}K" if count >= 1000 else str(count)


def summarize(net: nn.Module, *, in_channels: int, resolution: int) -> Summary:
    """Compute the rows and totals of `net` for an image [1, in_channels, resolution, resolution].

    The forward pass runs in eval mode on the meta device, and does not change the net.
    """
    rows: list[Row] = []
    counted: set[nn.Module] = set()
    fields = ReceptiveFields()

    def record(name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and inputs and isinstance(inputs[0], Tensor):
            field = fields.after(layer, inputs[0], output)
            rows.append(_row(name, layer, inputs[0], output, field, layer not in counted))
            counted.add(layer)

    with ExitStack() as hooks:
        for name, layer in net.named_modules():
            if not any(layer.children()):
                hooks.enter_context(layer.register_forward_hook(partial(record, name)))
        meta_forward(net, in_channels, resolution)
    params = [(p.numel(), p.requires_grad) for p in net.parameters()]
    return Summary(
        name=str(getattr(net, "name", type(net).__name__)),
        rows=tuple(rows),
        params=sum(count for count, _ in params),
        trainable=sum(count for count, trained in params if trained),
        notes=tuple(getattr(net, "notes", ())),
    )


def _row(
    name: str, layer: nn.Module, image: Tensor, output: Tensor, field: Field | None, first: bool
) -> Row:
    weight = layer.weight if isinstance(layer, (*Conv, nn.Linear)) else None
    neurons = 0 if weight is None else output[0].numel()
    return Row(
        name=name,
        kind=type(layer).__name__,
        input_shape=tuple(image.shape[1:]),
        output_shape=tuple(output.shape[1:]),
        params=sum(p.numel() for p in layer.parameters()) if first else 0,
        neurons=neurons,
        macs=0 if weight is None else neurons * weight[0].numel(),
        step=isinstance(layer, (*Conv, nn.MaxPool2d, nn.AvgPool2d)),
        field=field,
    )
