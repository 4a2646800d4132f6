"""Looks into each layer while it trains: does its gradient arrive, does it move, do its units live?

These are the articles' own explanations (saturation, vanishing gradients, dead ReLUs), measured.
Gradients and updates are those of a few training steps, spread over the epoch; activations are
those of the first images of val after it, as Glorot and Bengio (2010, "Understanding the difficulty
of training deep feedforward neural networks", section 3.2) looked at 300 images that were not
trained on. Nothing is drawn at random and nothing is changed: the weights come out the same.
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

# Outputs in the outer 5% of the range at either end, where the slope is below a fifth of its
# largest. Glorot and Bengio call units saturated there, and give no number; this one is ours.
SATURATED = {nn.Sigmoid: (0.05, 0.95), nn.Tanh: (-0.9, 0.9)}
CAN_DIE = (nn.ReLU, nn.ReLU6)
ACTIVATION_TYPES: tuple[type[nn.Module], ...] = (
    *ACTIVATIONS.values(),
    nn.ReLU6,
    nn.Hardswish,
    nn.PReLU,
)


class ActivationStats:
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
            elif isinstance(layer, ACTIVATION_TYPES):
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
        if isinstance(act, CAN_DIE):
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


STEPS = 4  # training steps looked at, an epoch
IMAGES = 300  # of val, at least, if there are so many
WEIGHTS = 1 << 18  # of a layer that its update is measured on, about: those of every k-th unit
QUANTITIES = ["grad_norm", "update_ratio", "act_mean", "act_std", "dead", "saturated", "sparse"]


class Diagnostics(L.Callback):
    """Adds `diag/<layer>/<quantity>` to the epoch's row, for each convolution and linear layer.

    grad_norm: L2 norm of the weights' gradient, before clipping; the mean of the steps looked at.
    update_ratio: L2 norm of a step's change of the weights over that of the weights; mean again.
    act_mean, act_std: of the outputs of the activation that follows the layer.
    dead: share of ReLU units that are 0 for every image; a convolution's unit is one kernel, at
        all its positions.
    saturated: share of the outputs of sigmoid or tanh in their flat parts (src/callbacks/
        activations.py says where these begin).
    sparse: share of outputs that are exactly 0.

    What does not apply is left out: gradients of frozen layers, activations of a layer that is
    followed by none. The steps of an epoch that is interrupted are in the checkpoint.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.steps: list[dict[str, float]] = []  # of this epoch
        self._before: dict[str, Tensor] = {}
        self._watched: ActivationStats | None = None

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """At the steps in the middle of each `STEPS`-th part of an epoch, look at the gradients."""
        batch, batches = trainer.fit_loop.epoch_loop.batch_idx, int(trainer.num_training_batches)
        due = sum((2 * part + 1) * batches // (2 * STEPS) <= batch for part in range(STEPS))
        if len(self.steps) >= due:
            return
        layers = {n: w for n, w in _weights(pl_module).items() if w.grad is not None}
        norms = torch.stack([w.grad.norm() for w in layers.values()]).tolist()
        self.steps.append({f"{n}/grad_norm": v for n, v in zip(layers, norms, strict=True)})
        self._before = {name: _some(weight).clone() for name, weight in layers.items()}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        """After such a step, look at what it has changed."""
        if self._before:
            weights = _weights(pl_module)
            for name, before in self._before.items():
                change = (_some(weights[name]) - before).norm() / before.norm()
                self.steps[-1][f"{name}/update_ratio"] = float(change)
            self._before = {}

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Watch the first images."""
        self._watched = ActivationStats(pl_module.net, IMAGES)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop watching, where there are fewer."""
        if self._watched:
            self._watched.stop()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Hand the epoch's values to the history."""
        values = self._watched.values() if self._watched else {}
        for name in self.steps[0] if self.steps else {}:
            values[name] = sum(step[name] for step in self.steps) / len(self.steps)
        columns = [f"{layer}/{what}" for layer in _weights(pl_module) for what in QUANTITIES]
        self.history.extra |= {f"diag/{name}": values[name] for name in columns if name in values}
        self.steps, self._watched = [], None

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave no hooks, after an exception either."""
        self.on_validation_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The steps of an epoch under way."""
        return {"steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with them."""
        self.steps = state_dict["steps"]


def _weights(learner: Any) -> dict[str, Any]:
    modules = learner.net.named_modules()
    return {name: m.weight for name, m in modules if isinstance(m, (*Conv, nn.Linear))}


def _some(weight: Tensor) -> Tensor:
    """The weights of every k-th unit, so that no more than about `WEIGHTS` are copied."""
    return weight.detach()[:: max(1, weight.numel() // WEIGHTS)]
