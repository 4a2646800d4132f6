"""Measure gradients, updates and activations of each layer during training.

They test the explanations that the articles give: saturation, vanishing gradients, dead ReLUs.
Gradients and updates are measured at a few training steps, spread over the epoch. Activations are
measured after the epoch on the first images of val; Glorot and Bengio (2010, "Understanding the
difficulty of training deep feedforward neural networks", section 3.2) also used 300 images outside
the training set. The callback draws no random number and does not change the training.
"""

import math
from collections import defaultdict
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from alexlab.models.activations import ACTIVATIONS
from alexlab.models.summary import Conv
from alexlab.training.callbacks.csv_history import History

# An output is saturated in the outer 5% of the range at either end, where the slope is below a
# fifth of its maximum. Glorot and Bengio define no limit.
SATURATED = {nn.Sigmoid: (0.05, 0.95), nn.Tanh: (-0.9, 0.9)}
CAN_DIE = (nn.ReLU, nn.ReLU6)
ACTIVATION_TYPES: tuple[type[nn.Module], ...] = (
    *ACTIVATIONS.values(),
    nn.ReLU6,
    nn.Hardswish,
    nn.PReLU,
)


class ActivationStats:
    """Collect statistics of the outputs of activations in `net`, by the layer before each.

    The order of the calls decides which layer an activation belongs to: an activation module that
    several layers share (ResNet) counts for each of them. The hooks are removed after `max_images`.
    """

    def __init__(self, net: nn.Module, max_images: float = math.inf) -> None:
        self.images, self.max_images = 0, max_images
        self._layer = ""  # the last layer called; "" after its activation
        self._parts: dict[str, list[list[float]]] = defaultdict(list)
        self._peaks: dict[str, Tensor] = {}  # largest output of each unit
        self._kinds: dict[str, type[nn.Module]] = {}
        self.handles: list[RemovableHandle] = [net.register_forward_hook(self._count)]
        for name, layer in net.named_modules():
            if isinstance(layer, (*Conv, nn.Linear)):
                self.handles.append(layer.register_forward_hook(self._note_layer(name)))
            elif isinstance(layer, ACTIVATION_TYPES):
                self.handles.append(layer.register_forward_hook(self._record))

    def stop(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()

    def _count(self, net: nn.Module, _: Any, outputs: Tensor) -> None:
        self.images += len(outputs)
        if self.images >= self.max_images:
            self.stop()

    def _note_layer(self, name: str) -> Any:
        def hook(*_: Any) -> None:
            self._layer = name

        return hook

    def _record(self, act: nn.Module, _: Any, outputs: Tensor) -> None:
        name, self._layer = self._layer, ""
        if not name:
            return
        outputs = outputs.detach().float()  # [N, units] or [N, units, H, W]
        low, high = SATURATED.get(type(act), (-torch.inf, torch.inf))
        saturated = ((outputs < low) | (outputs > high)).count_nonzero()
        var, mean = torch.var_mean(outputs, correction=0)
        statistics = torch.stack([mean, var, outputs.count_nonzero().float(), saturated.float()])
        self._parts[name].append([outputs.numel(), *statistics.tolist()])
        if isinstance(act, CAN_DIE):
            peak = outputs.amax([d for d in range(outputs.dim()) if d != 1])  # [units]
            self._peaks[name] = torch.maximum(self._peaks.get(name, peak), peak)
        self._kinds[name] = type(act)

    def values(self) -> dict[str, float]:
        """Return {"<layer>/<quantity>": value} for the images so far."""
        values: dict[str, float] = {}
        for name, parts in self._parts.items():
            table = torch.tensor(parts, dtype=torch.float64)
            counts, means, variances, nonzero, saturated = table.unbind(1)
            share = counts / counts.sum()
            mean = (share * means).sum()
            # exact for units near 1, whose variance is tiny
            spread = variances + (means - mean) ** 2
            values[f"{name}/act_mean"] = float(mean)
            values[f"{name}/act_std"] = float((share * spread).sum().sqrt())
            values[f"{name}/sparse"] = float(1 - nonzero.sum() / counts.sum())
            if self._kinds[name] in SATURATED:
                values[f"{name}/saturated"] = float(saturated.sum() / counts.sum())
            if name in self._peaks:
                values[f"{name}/dead"] = float((self._peaks[name] <= 0).float().mean())
        return values


STEPS = 4  # training steps measured per epoch
IMAGES = 300  # least number of val images to measure, if val has so many
WEIGHTS = 1 << 18  # approximate number of weights per layer to measure an update: every k-th unit
QUANTITIES = ["grad_norm", "update_ratio", "act_mean", "act_std", "dead", "saturated", "sparse"]


class Diagnostics(L.Callback):
    """Add `diag/<layer>/<quantity>` to the epoch's row, for each convolution and linear layer.

    - grad_norm: L2 norm of the weights' gradient before clipping, mean over the measured steps.
    - update_ratio: L2 norm of a step's weight change divided by that of the weights, also a mean.
    - act_mean, act_std: mean and std of the outputs of the activation after the layer.
    - dead: share of ReLU units that are 0 for every image; a unit of a convolution is one kernel
      at all its positions.
    - saturated: share of the outputs of sigmoid or tanh outside of `SATURATED`.
    - sparse: share of outputs that are exactly 0.

    Frozen layers have no gradients, and layers without an activation no activation statistics. A
    checkpoint contains the steps measured so far in an epoch.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.steps: list[dict[str, float]] = []  # of this epoch
        self._before: dict[str, Tensor] = {}
        self._activations: ActivationStats | None = None

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Measure gradients at `STEPS` steps, in the middle of `STEPS` equal parts of the epoch."""
        batch, batches = trainer.fit_loop.epoch_loop.batch_idx, int(trainer.num_training_batches)
        due = sum((2 * part + 1) * batches // (2 * STEPS) <= batch for part in range(STEPS))
        if len(self.steps) >= due:
            return
        layers = {n: w for n, w in _layer_weights(pl_module).items() if w.grad is not None}
        norms = torch.stack([w.grad.norm() for w in layers.values()]).tolist()
        self.steps.append({f"{n}/grad_norm": v for n, v in zip(layers, norms, strict=True)})
        self._before = {name: _sample(weight).clone() for name, weight in layers.items()}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        """Measure how much a measured step has changed the weights."""
        if self._before:
            weights = _layer_weights(pl_module)
            for name, before in self._before.items():
                change = (_sample(weights[name]) - before).norm() / before.norm()
                self.steps[-1][f"{name}/update_ratio"] = float(change)
            self._before = {}

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start measuring activations."""
        self._activations = ActivationStats(pl_module.net, IMAGES)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop measuring; val may have fewer than `IMAGES` images."""
        if self._activations:
            self._activations.stop()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the values to the epoch's row in the history."""
        values = self._activations.values() if self._activations else {}
        for name in self.steps[0] if self.steps else {}:
            values[name] = sum(step[name] for step in self.steps) / len(self.steps)
        columns = [f"{layer}/{name}" for layer in _layer_weights(pl_module) for name in QUANTITIES]
        self.history.extra |= {f"diag/{name}": values[name] for name in columns if name in values}
        self.steps, self._activations = [], None

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the hooks, also after an exception."""
        self.on_validation_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the measured steps of the current epoch."""
        return {"steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the saved steps."""
        self.steps = state_dict["steps"]


def _layer_weights(learner: Any) -> dict[str, Any]:
    modules = learner.net.named_modules()
    return {name: m.weight for name, m in modules if isinstance(m, (*Conv, nn.Linear))}


def _sample(weight: Tensor) -> Tensor:
    """Return the weights of every k-th unit, in most cases fewer than 2 * `WEIGHTS`."""
    return weight.detach()[:: max(1, weight.numel() // WEIGHTS)]
