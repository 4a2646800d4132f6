"""Save last.ckpt (to resume) and best.ckpt (for inference), at most every `every_s` seconds.

A checkpoint of AlexNet with momentum has 450 MB, and an epoch on a small data set takes seconds.
The best weights therefore stay in memory, and are saved at most every `every_s` seconds and at the
end. Until then the previous version of each file is kept, in case the newer one is corrupted.
"""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from alexlab.runs.checkpoint import iter_valid_checkpoints, save
from alexlab.runs.folder import BEST, LAST
from alexlab.training.callbacks.after_epoch import AfterEpoch
from alexlab.training.callbacks.moving_average import validated_net
from hydra_plugins.hydra_study_sweeper.run_folder import previous

log = logging.getLogger(__name__)


class Checkpoints(AfterEpoch):
    """Keep the weights of the best epoch, and save them and the training state.

    Args:
        folder: The run folder.
        objective: Name of the metric that selects the best epoch.
        maximize: Whether larger values of the objective are better.
        every_s: Minimum number of seconds between two saves.
        keep_last: Whether to keep last.ckpt after the run, for further training.
        metadata: Plain values to store in best.ckpt with the weights.
        conditions: Plain values to store in last.ckpt; a resume must have the same ones.
    """

    def __init__(
        self,
        folder: Path,
        *,
        objective: str,
        maximize: bool,
        every_s: float,
        keep_last: bool,
        metadata: Mapping[str, Any],
        conditions: Mapping[str, Any],
    ) -> None:
        self.folder, self.objective, self.maximize = folder, objective, maximize
        self.every_s, self.keep_last = every_s, keep_last
        self.metadata, self.conditions = metadata, conditions
        self.best: dict[str, Any] = {}  # epoch, score, metrics, net: {name: Tensor}
        self._finished = False
        self._saved_at = time.monotonic()
        self._best_is_on_disk = False
        self._corrupted: list[Path] = []

    def find_last(self) -> tuple[Path, dict[str, Any]] | None:
        """Return path and content of the newest valid last.ckpt; None if there is none.

        Raises:
            ValueError: If last.ckpt and the version before it are corrupted.
        """
        last = self.folder / LAST
        for path, content in iter_valid_checkpoints(last):
            if path != last:
                self._corrupted.append(last)
                rank_zero_only(log.info)(f"resuming from the previous checkpoint, {path}")
            return path, content
        if last.exists():
            raise ValueError(
                f"all checkpoints in {last.parent} are corrupted;"
                " delete that folder to restart from scratch"
            )
        return None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the epoch if it is the best; save if `every_s` seconds have passed."""
        metrics = {name: float(v) for name, v in trainer.callback_metrics.items()}
        score, best = metrics[self.objective], self.best.get("score")
        if best is None or (score > best if self.maximize else score < best):
            self.best = {"epoch": trainer.current_epoch + 1, "score": score, "metrics": metrics}
            net = validated_net(trainer, pl_module).state_dict()
            self.best["net"] = {k: v.detach().clone() for k, v in net.items()}  # on the device
            self._best_is_on_disk = False
        due = self.is_due()
        if trainer.world_size > 1:  # the ranks' clocks differ, and all ranks must save together
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
        if due:
            self.save(trainer)

    def is_due(self) -> bool:
        """Return whether `every_s` seconds have passed since this process saved last."""
        return time.monotonic() - self._saved_at >= self.every_s

    def save(self, trainer: L.Trainer, *, last: bool = True) -> None:
        """Write the best weights if they are new, and then last.ckpt if `last`."""
        if trainer.is_global_zero:
            for path in self._corrupted:  # a save would rename it over the valid previous version
                path.unlink(missing_ok=True)
            self._corrupted = []
            if self.best and not self._best_is_on_disk:
                net = {name: tensor.cpu() for name, tensor in self.best["net"].items()}
                save({**self.metadata, **self.best, "net": net}, self.folder / BEST)
                self._best_is_on_disk = True
        if last:
            trainer.save_checkpoint(self.folder / LAST)
            self._saved_at = time.monotonic()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the final checkpoints while the ranks can still exchange tensors."""
        self.finish(trainer)

    def finish(self, trainer: L.Trainer) -> None:
        """Write them once; Lightning skips `on_train_end` if a resumed run has no epoch left."""
        if not self._finished:
            self.save(trainer, last=self.keep_last)
            self._finished = True

    @property
    def obsolete(self) -> list[Path]:
        """Return the files to delete once metrics.json is written: only a resume needs them."""
        names = [] if self.keep_last else [LAST]
        return [self.folder / name for name in (*names, previous(LAST), previous(BEST))]

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the conditions and the device of the training."""
        device = trainer.strategy.root_device.type
        checkpoint["conditions"] = {**self.conditions, "device": device}

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch's facts; its weights are in best.ckpt."""
        return {key: value for key, value in self.best.items() if key != "net"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best epoch and its weights; after a crash best.ckpt may be newer than it."""
        best = self.folder / BEST
        valid = list(iter_valid_checkpoints(best))
        if valid and valid[0][0] != best:
            self._corrupted.append(best)
        for path, content in valid:
            if all(content[key] == state_dict[key] for key in ("epoch", "score")):
                self._best_is_on_disk = path == best
                return self._restore_best(content)
        substitute = f"the weights of epoch {valid[0][1]['epoch']}" if valid else "none"
        rank_zero_only(log.warning)(
            f"the weights of the best epoch, {state_dict['epoch']}, are lost;"
            f" continuing with {substitute} as the best so far"
        )
        return self._restore_best(valid[0][1]) if valid else None

    def _restore_best(self, content: Mapping[str, Any]) -> None:
        net = {name: tensor.clone() for name, tensor in content["net"].items()}  # not memory-mapped
        self.best = {key: content[key] for key in ("epoch", "score", "metrics")} | {"net": net}
