"""One training, from a composed config to its results in the run's folder."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig, OmegaConf

from src import announce, build, provenance, run_config
from src.allocator import keep_big_blocks
from src.callbacks.auto_batch import AutoBatch
from src.callbacks.board_pictures import PRCurves
from src.callbacks.checkpoints import Checkpoints
from src.callbacks.finite import Finite
from src.callbacks.history import History
from src.callbacks.interrupt import Interrupt
from src.callbacks.progress import EpochLines
from src.callbacks.seeded_steps import SeededSteps
from src.callbacks.symptoms import Symptoms
from src.callbacks.tensorboard import TensorBoard
from src.callbacks.test_crops import ManyCrops
from src.checkpoint_io import check_fits
from src.checksum import checksum
from src.models.summary import summarize
from src.quiet import quieten_libraries
from src.run_folder import BEST, HISTORY


class Training:
    """Builds everything first, so that bad settings fail before anything is written.

    Args:
        cfg: The composed config.
        folder: The run's folder; with checkpoints/last.ckpt in it, the training goes on from there.
        record: Filled with what metrics.json will say, as it becomes known.
        trial: Whether it is one of a sweep, which keeps no last.ckpt once it has finished.

    Raises:
        ValueError: A setting that cannot work, or a checkpoint of other data or of another net.
        FileNotFoundError: The data set is not there.
    """

    def __init__(
        self, cfg: DictConfig, folder: Path, record: dict[str, Any], *, trial: bool
    ) -> None:
        quieten_libraries()
        keep_big_blocks()
        torch.set_float32_matmul_precision("high")  # TF32 where the GPU has it
        self.cfg, self.folder, self.record = cfg, folder, record
        self.data = build.data_module(cfg)
        self.learner = build.learner(cfg, self.data)
        self.learner.configure_optimizers()  # once for its errors
        self.summary = summarize(
            self.learner.net, in_channels=self.data.in_channels, resolution=self.data.resolution
        )
        build.hasten(cfg, self.learner.net)
        self.history = History(folder / HISTORY)
        self.checkpoints = Checkpoints(
            folder,
            objective=cfg.objective,
            maximize=build.maximizes(cfg),
            every_s=cfg.save_every_s,
            keep_last=not trial,
            about={"classes": self.data.classes, "fingerprint": self.data.fingerprint},
        )
        self.trainer = self._trainer()
        self.resumed = self._to_resume()

    def _trainer(self) -> L.Trainer:
        cfg, history = self.cfg, self.history
        config = run_config.plain(cfg)
        hparams, chosen = run_config.hparams(config), run_config.chosen()
        self.board = TensorBoard(self.folder, OmegaConf.to_yaml(config), hparams, history, chosen)
        self.optional = build.optional_callbacks(cfg, self.board)
        callbacks = [
            PRCurves(self.board, self.data.classes),
            history,
            Finite(),
            EpochLines(history, headline=cfg.objective.split("/")[-1]),
            Symptoms(history),
            self.board,
            self.checkpoints,
            *self.optional,
            Interrupt(self.checkpoints),
            SeededSteps(cfg.seed),
            ManyCrops(cfg.test_crops, self.data),
        ]
        options = build.trainer_options(cfg)
        return L.Trainer(**options, callbacks=callbacks, default_root_dir=self.folder)

    def run(self) -> float:
        """Train, then test the weights of the best epoch; the objective at that epoch."""
        rank_0 = self.trainer.is_global_zero
        if rank_0:
            run_config.write(self.cfg, self.folder)
            self.record |= self.surroundings()
            provenance.keep_patch(self.folder)
            self._announce()
        try:
            self.trainer.fit(self.learner, self.data, ckpt_path=self.resumed, weights_only=True)
            self.checkpoints.finish(self.trainer)
            self.learner.net.load_state_dict(self.checkpoints.best["net"])
            tested = self.trainer.test(self.learner, self.data, verbose=False)[0]
            self.checkpoints.best["metrics"].update(tested)
            self.checkpoints.tidy(self.trainer)
        finally:
            if rank_0:
                self._record()
                self.board.finish(self.record["metrics"])
                announce.outcome(self.record, self.folder)
        return float(self.checkpoints.best["score"])

    def surroundings(self) -> dict[str, Any]:
        """What the result depends on beside the config."""
        return {
            "git": provenance.git_commit(),
            "versions": provenance.versions(),
            "hardware": provenance.hardware(self.trainer.strategy.root_device),
            "data_fingerprint": self.data.fingerprint,
        }

    def _to_resume(self) -> Path | None:
        """The checkpoint to go on from, if there is one, checked to be of this data and this net.

        Lightning would ask the data module only after it has loaded the weights.
        """
        found = self.checkpoints.to_resume()
        if found is None:
            return None
        path, saved = found
        self.data.load_state_dict(saved.get(type(self.data).__qualname__, {}))
        check_fits(saved["state_dict"], self.learner.state_dict(), path)
        return path

    def _announce(self) -> None:
        cfg, trainer = self.cfg, self.trainer
        optim, sched = (
            str(part.get("_target_", "constant")).rsplit(".", 1)[-1]
            for part in (cfg.optim, cfg.sched)
        )
        how = (
            f"{optim} lr {cfg.optim.lr:g}, {sched}, batch {self.data.batch_size},"
            f" {trainer.max_epochs} epochs, seed {cfg.seed}"
        )
        device = f"{self.record['hardware']}, {trainer.precision}"
        announce.plan(self.summary, self.data, how, device, self.folder)

    def _record(self) -> None:
        best = self.checkpoints.best
        self.record |= {
            "objective": best.get("score"),
            "metrics": best.get("metrics", {}),
            "best_epoch": best.get("epoch"),
            "epochs": len(self.history.rows),
            "wall_s": round(self.history.wall_s, 3),
            "images_per_s": self.history.images_per_s,
            "params": self.summary.params,
            "neurons": self.summary.neurons,
            "seed": self.cfg.seed,
            "images": {side: sum(n.values()) for side, n in self.data.counts.items()},
            "command": provenance.command(),
            "best_sha256": checksum(self.folder / BEST) if (self.folder / BEST).exists() else None,
            "micro_batch": next((c.size for c in self.optional if isinstance(c, AutoBatch)), None),
            **provenance.peaks(),
        }
