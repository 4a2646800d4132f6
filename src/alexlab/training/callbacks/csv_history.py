"""Write history.csv, one row per epoch; the whole file is replaced atomically.

The file is synced to the disk only at the end of the training, because a sync takes longer than an
epoch of a small net. After a power cut a run is resumed from last.ckpt, which contains the rows.
"""

import time
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

import lightning as L
import torch

from alexlab.runs.folder import csv_text, write_atomically
from alexlab.training.callbacks.after_epoch import AfterEpoch


class History(AfterEpoch):
    """Store one row per epoch: epoch (from 1), lr, train/*, val/*, seconds (training only), extra.

    Callbacks that are not an `AfterEpoch` may add columns of the epoch to `extra`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.extra: dict[str, float] = {}
        self._images = self._started = self._seconds = self._lr = 0.0
        self.rates: list[float] = []  # images/s per epoch of this process
        self._wall_before, self._created = 0.0, time.perf_counter()

    @property
    def images_per_s(self) -> float | None:
        """Return the mean training throughput, without the first epoch if there are others."""
        rates = self.rates[1:] or self.rates
        return harmonic_mean(rates) if rates else None

    @property
    def wall_s(self) -> float:
        """Return the seconds that the run has taken so far, including those before a resume."""
        return self._wall_before + time.perf_counter() - self._created

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; store the learning rate before the schedule steps."""
        self._images, self._started = 0.0, time.perf_counter()
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Do the same for an epoch that is resumed in the middle."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images of all ranks."""
        self._images += len(batch[1]) * trainer.world_size

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock when the device has finished the last batch of the epoch."""
        if pl_module.device.type != "cpu":
            torch.accelerator.synchronize(pl_module.device)
        self._seconds = time.perf_counter() - self._started

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the epoch's row and write the file."""
        values = sorted(trainer.callback_metrics.items(), key=lambda item: item[0].split("/")[0])
        metrics = {name: float(v) for name, v in values}  # train/* before val/*
        row = {"epoch": float(trainer.current_epoch + 1), "lr": self._lr, **metrics}
        self.rows.append({**row, "seconds": round(self._seconds, 3), **self.extra})
        self.extra = {}
        self.rates.append(self._images / max(self._seconds, 1e-9))
        if trainer.is_global_zero:
            self._write(sync=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sync the file to the disk."""
        if trainer.is_global_zero and self.rows:
            self._write(sync=True)

    def _write(self, *, sync: bool) -> None:
        rows = [{**row, "epoch": int(row["epoch"])} for row in self.rows]
        names = list(dict.fromkeys(name for row in rows for name in row))
        cells = ([row.get(name, "") for name in names] for row in rows)
        write_atomically(self.path, csv_text([names, *cells]), sync=sync)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows and the seconds so far."""
        return {"rows": self.rows, "wall_s": self.wall_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the checkpoint's last row; later epochs are trained and written again."""
        self.rows, self._wall_before = state_dict["rows"], state_dict["wall_s"]
