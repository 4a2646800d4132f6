"""Statistics of what the layers of a net put out, gathered while it runs."""

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from src.models.activations import ACTIVATIONS
from src.models.summary import Conv

# Outputs in the outer 5% of the range at either end, where the slope is below a fifth of its
# largest. Glorot and Bengio call units saturated there, and give no number; this one is ours.
SATURATED = {nn.Sigmoid: (0.05, 0.95), nn.Tanh: (-0.9, 0.9)}
DIES = (nn.ReLU, nn.ReLU6)
FOLLOWS: tuple[type[nn.Module], ...] = (*ACTIVATIONS.values(), nn.ReLU6, nn.Hardswish, nn.PReLU)


class Activations:
    """Gathers statistics of the outputs of the activations in `net`, under their layers' names.

    Which activation follows which layer is seen as the net runs, so that an activation that several
    layers share (ResNet) counts for each of them. After `most` images it looks no longer.
    """

    def __init__(self, net: nn.Module, most: float = math.inf) -> None:
        self.images, self.most = 0, most
        self._layer = ""  # the last one called, if no activation has followed yet
        self._parts: dict[str, list[list[float]]] = defaultdict(list)
        self._peaks: dict[str, Tensor] = {}  # largest output of each unit
        self._kinds: dict[str, type[nn.Module]] = {}
        self.handles: list[RemovableHandle] = [net.register_forward_hook(self._count)]
        for name, layer in net.named_modules():
            if isinstance(layer, (*Conv, nn.Linear)):
                self.handles.append(layer.register_forward_hook(self._called(name)))
            elif isinstance(layer, FOLLOWS):
                self.handles.append(layer.register_forward_hook(self._look))

    def stop(self) -> None:
        """Look no longer."""
        for handle in self.handles:
            handle.remove()

    def _count(self, net: nn.Module, _: Any, outputs: Tensor) -> None:
        self.images += len(outputs)
        if self.images >= self.most:
            self.stop()

    def _called(self, name: str) -> Any:
        def hook(*_: Any) -> None:
            self._layer = name

        return hook

    def _look(self, act: nn.Module, _: Any, outputs: Tensor) -> None:
        name, self._layer = self._layer, ""
        if not name:
            return
        outputs = outputs.detach().float()  # [N, units] or [N, units, H, W]
        low, high = SATURATED.get(type(act), (-torch.inf, torch.inf))
        flat = ((outputs < low) | (outputs > high)).count_nonzero()
        var, mean = torch.var_mean(outputs, correction=0)
        numbers = torch.stack([mean, var, outputs.count_nonzero().float(), flat.float()])
        self._parts[name].append([outputs.numel(), *numbers.tolist()])
        if isinstance(act, DIES):
            peak = outputs.amax([d for d in range(outputs.dim()) if d != 1])  # [units]
            self._peaks[name] = torch.maximum(self._peaks.get(name, peak), peak)
        self._kinds[name] = type(act)

    def values(self) -> dict[str, float]:
        """{"<layer>/<quantity>": value} of all that was seen."""
        found: dict[str, float] = {}
        for name, parts in self._parts.items():
            table = torch.tensor(parts, dtype=torch.float64)
            counts, means, variances, others, flat = table.unbind(1)
            share = counts / counts.sum()
            mean = (share * means).sum()
            spread = variances + (means - mean) ** 2  # units stuck at 1 keep their tiny variance
            found[f"{name}/act_mean"] = float(mean)
            found[f"{name}/act_std"] = float((share * spread).sum().sqrt())
            found[f"{name}/sparse"] = float(1 - others.sum() / counts.sum())
            if self._kinds[name] in SATURATED:
                found[f"{name}/saturated"] = float(flat.sum() / counts.sum())
            if name in self._peaks:
                found[f"{name}/dead"] = float((self._peaks[name] <= 0).float().mean())
        return found
