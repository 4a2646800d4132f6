"""LightningModule that trains a net on a task; it does not depend on a data set or a config."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import Metric


class Task(Protocol):
    """Define the interface of the tasks in alexlab.training.tasks."""

    num_outputs: int

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]: ...  # noqa: D102
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor: ...  # noqa: D102
    def predict(self, outputs: Tensor) -> Tensor: ...  # noqa: D102
    def metrics(self) -> Metric: ...  # noqa: D102


class MeanLoss(Metric):
    """Compute the mean loss per image over batches of any size, without waiting for the device.

    torchmetrics' MeanMetric (1.9.0) drops the weights with nan_strategy="disable" (its issue 3434),
    and waits for the device at each update with any other strategy. Checkpoints contain the states:
    a run resumed in the middle of an epoch reports the same mean as an uninterrupted run.
    """

    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum", persistent=True)
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum", persistent=True)

    def update(self, loss: Tensor, num_images: int) -> None:
        """Add the mean loss [] of a batch, in float32 or wider (float16 is too coarse for sums)."""
        self.total = self.total + loss * num_images
        self.images = self.images + num_images

    def compute(self) -> Tensor:
        """Return the mean [] over the images of all ranks."""
        return self.total / self.images


def mark_dynamic_batch(inputs: Tensor) -> None:
    """Mark the batch size as dynamic, or torch.compile would compile again for the last batch."""
    torch._dynamo.maybe_mark_dynamic(inputs, 0)


class Learner(L.LightningModule):
    """Train `net` on `task`; log {split}/loss and {split}/{metric} once per epoch.

    Args:
        net: Module for images [N, C, R, R] float32 -> outputs [N, num_outputs]. If it has a method
            `parameter_groups()`, the learning rate of each group ({"params", "lr_scale"}) is
            multiplied by its `lr_scale`.
        task: Loss and metrics.
        optim: Function of the parameters or parameter groups that returns the optimiser.
        sched: Function of the optimiser that returns the schedule, which is stepped once per
            epoch; None for a constant rate.
    """

    def __init__(
        self,
        net: nn.Module,
        task: Task,
        *,
        optim: Callable[[Iterable[Any]], Optimizer],
        sched: Callable[[Optimizer], LRScheduler | ReduceLROnPlateau] | None = None,
    ) -> None:
        super().__init__()
        self.net, self.task, self.optim, self.sched = net, task, optim, sched
        self.compiled = False
        self.plateau: ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None
        for split in ("train", "val", "test"):
            self.add_module(f"{split}_loss", MeanLoss())
            self.add_module(f"{split}_metrics", task.metrics())

    def compile_net(self, mode: str) -> None:
        """Compile the net with a mode of torch.compile; batches may have any size."""
        self.net.compile(mode=mode)
        self.compiled = True

    def metrics(self, split: str) -> tuple[MeanLoss, Metric]:
        """Return the mean loss and the task's metrics of a split, for the current epoch so far."""
        return getattr(self, f"{split}_loss"), getattr(self, f"{split}_metrics")

    def _step(self, batch: tuple[Tensor, Tensor], split: str) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch [] and its outputs [N, num_outputs]."""
        images, targets = batch  # [N, C, R, R], [N] int64 or [N] float32 or [N, classes] (mixup)
        inputs = images.to(self.dtype)
        if self.compiled:
            mark_dynamic_batch(inputs)
        outputs = self.net(inputs).float()  # [N, num_outputs]; the loss in float32
        loss = self.task.loss(outputs, targets)
        mean_loss, metrics = self.metrics(split)
        mean_loss.update(loss.detach(), len(images))
        metrics.update(outputs.detach(), targets)
        return loss, outputs

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a training batch, after mixup or CutMix if the task has it."""
        return self._step(self.task.mix(*batch), "train")[0]

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Update the metrics of val; return the outputs [N, num_outputs] for callbacks."""
        return self._step(batch, "val")[1]

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Update the metrics of test; return the outputs [N, num_outputs] for callbacks."""
        return self._step(batch, "test")[1]

    def _log_epoch(self, split: str) -> None:
        mean_loss, metrics = self.metrics(split)
        values = {"loss": mean_loss.compute(), **metrics.compute()}
        on_cpu = torch.stack(list(values.values())).cpu()  # the only wait for the device
        named = {f"{split}/{name}": v for name, v in zip(values, on_cpu, strict=True)}
        # compute() has combined all ranks; sync_dist would only average equal numbers
        self.log_dict(named, sync_dist=False)
        mean_loss.reset()
        metrics.reset()

    def on_train_epoch_end(self) -> None:
        """Log train/*, and step a plateau schedule.

        Lightning would step it after the callbacks have saved; a resumed run would miss that step.
        """
        self._log_epoch("train")
        if self.plateau is not None:
            self.plateau.step(float(self.trainer.callback_metrics["val/loss"]))

    def on_validation_epoch_end(self) -> None:
        """Log val/*."""
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        """Log test/*."""
        self._log_epoch("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the plateau schedule's state, and the metric states of each rank.

        Lightning saves the other schedules, and the metric states of rank 0. Nothing is gathered
        between epochs: after the training the net is on the CPU, and NCCL cannot gather CPU
        tensors.
        """
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()
        in_epoch = self.metrics("train")[0].update_called
        if self.trainer.world_size > 1 and in_epoch:
            means = {k: v for k, v in self.state_dict().items() if k.startswith("train_")}
            checkpoint["means"] = self.all_gather(means)  # [ranks, ...] each

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Load this rank's metric states; store the plateau state for `configure_optimizers`."""
        self._plateau_state = checkpoint.get("plateau")
        per_rank = checkpoint.get("means", {})
        means = {name: values[self.global_rank] for name, values in per_rank.items()}
        for key in ("state_dict", "current_model_state"):  # the second with weight averaging only
            if key in checkpoint:
                checkpoint[key].update(means)

    def configure_optimizers(self) -> Any:
        """Build the optimiser of the trainable parameters, and the schedule (one step per epoch).

        Raises:
            ValueError: If the learning rate is not greater than 0.
        """
        optimizer = self.optim(self._parameter_groups())
        if optimizer.defaults["lr"] <= 0:
            raise ValueError(f"optim.lr={optimizer.defaults['lr']}: must be greater than 0")
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_scale", 1.0)
        if self.sched is None:
            return optimizer
        schedule = self.sched(optimizer)
        if not isinstance(schedule, ReduceLROnPlateau):
            return [optimizer], [schedule]
        self.plateau = schedule  # stepped with val/loss in on_train_epoch_end
        if self._plateau_state is not None:
            schedule.load_state_dict(self._plateau_state)
        return optimizer

    def _parameter_groups(self) -> list[Any]:
        groups = getattr(self.net, "parameter_groups", None)
        return list(groups()) if groups else [p for p in self.parameters() if p.requires_grad]
