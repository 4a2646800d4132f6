"""last.ckpt, to go on from, and best.ckpt, to use: written when it pays, never twice.

AlexNet with momentum is 450 MB a checkpoint, and an epoch on a small data set takes seconds. So the
best weights wait in memory, and the disk is written at most every `every_s` seconds and at the end.
Until then the checkpoint before each stays beside it, for the case that it gets damaged.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from lightning.pytorch.utilities import rank_zero_only

from alexlab.runs.checkpoint import iter_valid_checkpoints, previous, save
from alexlab.runs.folder import BEST, LAST


class Checkpoints(Checkpoint):
    """Keeps the weights of the best epoch, and saves them and the training state.

    Args:
        folder: The run's folder.
        objective: Name of the metric that the best epoch is best in.
        maximize: Whether more of it is better.
        every_s: Seconds between two saves at the least.
        keep_last: Whether last.ckpt is wanted once the run has finished, to train it further.
        about: Plain values stored in best.ckpt beside the weights.
    """

    def __init__(
        self,
        folder: Path,
        *,
        objective: str,
        maximize: bool,
        every_s: float,
        keep_last: bool,
        about: Mapping[str, Any],
    ) -> None:
        self.folder, self.objective, self.maximize = folder, objective, maximize
        self.every_s, self.keep_last, self.about = every_s, keep_last, about
        self.best: dict[str, Any] = {}  # epoch, score, metrics, net: {name: Tensor on the CPU}
        self._saved = time.monotonic()
        self._best_is_on_disk = False
        self._damaged: list[Path] = []

    def to_resume(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest last.ckpt that is whole, and its content; None in a new folder.

        Raises:
            ValueError: There is one, but none that is whole.
        """
        last = self.folder / LAST
        for found in iter_valid_checkpoints(last):
            if found[0] != last:
                self._damaged.append(last)
                rank_zero_only(print)(f"going on from the one before it, {found[0]}")
            return found
        if last.exists():
            raise ValueError(f"nothing whole to go on from: delete {last.parent} to start anew")
        return None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the epoch if it is the best; save if the last save was long ago."""
        metrics = {name: float(v) for name, v in trainer.callback_metrics.items()}
        if self.objective not in metrics:
            raise ValueError(
                f"objective={self.objective} is not measured; known: {', '.join(sorted(metrics))}"
            )
        score, best = metrics[self.objective], self.best.get("score")
        if best is None or (score > best if self.maximize else score < best):
            self.best = {"epoch": trainer.current_epoch + 1, "score": score, "metrics": metrics}
            net = _net(trainer, pl_module).state_dict()
            self.best["net"] = {k: v.detach().to("cpu", copy=True) for k, v in net.items()}
            self._best_is_on_disk = False
        due = time.monotonic() - self._saved >= self.every_s
        if trainer.world_size > 1:  # each rank has its own clock, and all of them save or none
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
        if due:
            self.save(trainer)

    def save(self, trainer: L.Trainer, *, last: bool = True) -> None:
        """Write what is new: the best weights, then the state to go on from, if that is wanted."""
        if trainer.is_global_zero:
            for path in self._damaged:  # it must not take the place of the good one before it
                path.unlink(missing_ok=True)
            self._damaged = []
            if self.best and not self._best_is_on_disk:
                save({**self.about, **self.best}, self.folder / BEST)
                self._best_is_on_disk = True
        if last:
            trainer.save_checkpoint(self.folder / LAST)
            self._saved = time.monotonic()

    def finish(self, trainer: L.Trainer) -> None:
        """The training has ended: write the best weights, and last.ckpt if it is to be kept."""
        self.save(trainer, last=self.keep_last)

    def tidy(self, trainer: L.Trainer) -> None:
        """The run has ended, its test too: delete what only a resume would have needed."""
        if trainer.is_global_zero:
            if not self.keep_last:
                (self.folder / LAST).unlink(missing_ok=True)
            for name in (LAST, BEST):
                previous(self.folder / name).unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """All but the best weights, which are in best.ckpt beside it."""
        return {key: value for key, value in self.best.items() if key != "net"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best epoch so far, whose weights are in best.ckpt, or in the one before.

        (A crash between two saves leaves a best.ckpt that is newer than last.ckpt.)
        """
        best = self.folder / BEST
        found = list(iter_valid_checkpoints(best))
        if found and found[0][0] != best:
            self._damaged.append(best)
        for path, saved in found:
            if all(saved[key] == state_dict[key] for key in ("epoch", "score")):
                self._best_is_on_disk = path == best
                return self._take(saved)
        instead = f"of epoch {found[0][1]['epoch']}" if found else "of those to come"
        rank_zero_only(print)(
            f"warning: the weights of the best epoch, {state_dict['epoch']}, are lost: going on"
            f" with the best {instead}"
        )
        return self._take(found[0][1]) if found else None

    def _take(self, saved: Mapping[str, Any]) -> None:
        net = {name: tensor.clone() for name, tensor in saved["net"].items()}  # out of the file
        self.best = {key: saved[key] for key in ("epoch", "score", "metrics")} | {"net": net}


def _net(trainer: L.Trainer, learner: Any) -> Any:
    """The net that validation has judged: the averaged one where weights are averaged (EMA)."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging) and callback._average_model is not None:
            return callback._average_model.module.net
    return learner.net
