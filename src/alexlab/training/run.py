"""Run one training: from a composed config to its results in the run folder."""

import logging
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from alexlab import factory
from alexlab.library_warnings import filter_warnings
from alexlab.models.summary import summarize
from alexlab.performance.malloc import set_malloc_thresholds
from alexlab.runs import config as run_config
from alexlab.runs import provenance
from alexlab.runs.checkpoint import check_fits, checksum
from alexlab.runs.folder import BEST, HISTORY, Stopped
from alexlab.runs.stop_signals import StopSignals
from alexlab.training import build, console
from alexlab.training.callbacks.auto_batch import AutoBatch
from alexlab.training.callbacks.checkpoints import Checkpoints
from alexlab.training.callbacks.csv_history import History
from alexlab.training.callbacks.fit_metrics import FitMetrics
from alexlab.training.callbacks.graceful_stop import GracefulStop
from alexlab.training.callbacks.health_warnings import TrainingHealthWarnings
from alexlab.training.callbacks.loggers import Loggers
from alexlab.training.callbacks.multi_crop_test import MultiCropTest
from alexlab.training.callbacks.nan_guard import NaNGuard
from alexlab.training.callbacks.progress import EpochProgress
from alexlab.training.callbacks.step_seeding import StepSeeding
from alexlab.training.callbacks.tensorboard import PRCurves, TensorBoard

log = logging.getLogger(__name__)


class TrainingRun:
    """Train one network; the constructor builds all parts and raises before it writes the run.

    Args:
        cfg: The composed config.
        folder: The run folder; if it contains checkpoints/last.ckpt, the training resumes there.
        record: Dictionary that is filled with the content of metrics.json.
        trial: Whether the run belongs to a sweep; a finished trial has no last.ckpt.
        signals: Handlers of stop signals, active during `run`; None creates them.

    Raises:
        ValueError: If a setting cannot work, or the checkpoint has other data or another net.
        FileNotFoundError: If the data set is missing.
    """

    def __init__(
        self,
        cfg: DictConfig,
        folder: Path,
        record: dict[str, Any],
        *,
        trial: bool,
        signals: StopSignals | None = None,
    ) -> None:
        filter_warnings()
        set_malloc_thresholds()
        torch.set_float32_matmul_precision("high")  # TF32 if the GPU supports it
        cfg = build.with_resolved_devices(cfg)
        build.check_deterministic(cfg)
        self.cfg, self.folder, self.record, self.is_trial = cfg, folder, record, trial
        self.signals = signals or StopSignals()
        self.data = factory.data_module(cfg)
        self.learner = build.learner(cfg, self.data)
        build.check_epochs(cfg, self.learner, self.data)
        self.summary = summarize(
            self.learner.net, in_channels=self.data.in_channels, resolution=self.data.resolution
        )
        build.optimize_for_device(cfg, self.learner)
        self.trainer = build.trainer(cfg, callbacks=self._callbacks(), default_root_dir=folder)
        self.resume_from = self._resume_from()

    def _callbacks(self) -> list[Callback]:
        """Build the callbacks in the order in which Lightning calls them."""
        cfg, folder = self.cfg, self.folder
        config = run_config.to_plain(cfg)
        hparams = run_config.hparams(config)
        shown = run_config.shown_settings(config, folder.parent if self.is_trial else None)
        self.history = History(folder / HISTORY)
        self.board = TensorBoard(folder, OmegaConf.to_yaml(config), shown, self.history)
        self.board.enabled = "tensorboard" in (cfg.get("logger") or {})
        self.loggers = Loggers(build.loggers(cfg, folder), hparams, self.history)
        self.health = TrainingHealthWarnings(self.history)
        self.optional = build.optional_callbacks(cfg, self.board)
        self.checkpoints = Checkpoints(
            folder,
            objective=cfg.objective,
            maximize=build.maximizes(cfg),
            every_s=cfg.save_every_s,
            keep_last=not self.is_trial,
            metadata=self.data.metadata(),
            conditions={
                "precision": cfg.trainer.precision,
                "effective_batch_size": cfg.effective_batch_size,
                "settings": run_config.settings_of_run(cfg),
            },
        )
        crops = MultiCropTest(cfg.test_crops, self.data)
        before_logging = [
            PRCurves(self.board, self.data.classes),
            *self.optional,
            StepSeeding(cfg.seed),
            crops,
            *([FitMetrics(self.data, crops.predictions)] if cfg.fit_metrics else []),
        ]
        after_logging = [
            self.history,  # the others read its rows
            NaNGuard(),
            EpochProgress(self.history, metric=cfg.objective.split("/")[-1]),
            self.health,
            self.board,
            self.checkpoints,  # saves the epoch before the next two may stop the training
            *build.pruning(cfg),
            GracefulStop(self.checkpoints, self.signals),
            self.loggers,
        ]
        return [*before_logging, *after_logging, *build.extra_callbacks(cfg)]

    def run(self) -> float:
        """Train, test the weights of the best epoch, and return the objective at that epoch.

        Raises:
            Stopped: After a stop signal; the state for a resume has been saved.
        """
        with self.signals:
            return self._run()

    def _run(self) -> float:
        rank_0 = self.trainer.is_global_zero
        if rank_0:
            run_config.write(self.cfg, self.folder)
            self.record |= self.environment()
            provenance.keep_patch(self.folder)
            self._print_header()
        try:
            self.trainer.fit(self.learner, self.data, ckpt_path=self.resume_from, weights_only=True)
            self.checkpoints.finish(self.trainer)
            self._test()
        finally:
            if rank_0:
                self._complete_record()
                self.board.finish(self.record["metrics"])
                status = "failed" if sys.exc_info()[0] else "success"
                self.loggers.finish(self.record["metrics"], status)
                console.print_run_summary(self.record, self.folder)
        return float(self.checkpoints.best["score"])

    def _test(self) -> None:
        """Test the weights of the best epoch; a single process stops at once on a signal."""
        try:
            self.signals.set_at_once(self.trainer.world_size == 1)
            self.learner.net.load_state_dict(self.checkpoints.best["net"])
            tested = self.trainer.test(self.learner, self.data, verbose=False)[0]
            self.signals.set_at_once(False)
        except Stopped:
            if not self.checkpoints.keep_last:  # otherwise last.ckpt exists
                self.checkpoints.save(self.trainer)
            raise
        self.checkpoints.best["metrics"].update(tested)

    def environment(self) -> dict[str, Any]:
        """Return the facts besides the config that the result depends on."""
        return {
            "git": provenance.git_commit(),
            "versions": provenance.versions(),
            "hardware": provenance.hardware(self.trainer.strategy.root_device),
            "data_fingerprint": self.data.fingerprint,
        }

    def _resume_from(self) -> Path | None:
        """Return the checkpoint to resume from, if any, after checking its data and its net."""
        checkpoint = self.checkpoints.find_last()
        if checkpoint is None:
            return None
        path, content = checkpoint
        trained = len(content["callbacks"]["History"]["rows"])
        if trained > (self.trainer.max_epochs or 0):
            raise ValueError(
                f"trainer.max_epochs={self.trainer.max_epochs}: {self.folder} has trained {trained}"
                f" epochs already; set at least {trained}"
            )
        self.data.load_state_dict(content.get(type(self.data).__qualname__, {}))
        check_fits(content["state_dict"], self.learner.state_dict(), path)
        self._check_conditions(content.get("conditions", {}), path)
        return path

    def _check_conditions(self, saved: dict[str, Any], path: Path) -> None:
        """Compare the conditions of the checkpoint; warn about another device.

        Raises:
            ValueError: If the precision, the effective batch size or a setting differs.
        """
        now = self.checkpoints.conditions
        device = self.trainer.strategy.root_device.type
        settings = {"precision": "trainer.precision", "effective_batch_size": "data.batch_size"}
        for name, setting in settings.items():
            if saved.get(name, now[name]) != now[name]:
                raise ValueError(
                    f"{path} was trained with {name.replace('_', ' ')} {saved[name]}, this run has"
                    f" {now[name]}: set {setting} and trainer.devices to their earlier values"
                )
        before, after = saved.get("settings", {}), now["settings"]
        differ = [k for k in before if k in after and before[k] != after[k]]
        if differ:
            named = ", ".join(f"{key} {before[key]} -> {after[key]}" for key in differ[:3])
            raise ValueError(
                f"{path} is of another run ({named}): restore the checkpoint of this run, or delete"
                f" {path.parent} to start from scratch"
            )
        if saved.get("device", device) != device and self.trainer.is_global_zero:
            log.warning(
                f"resuming on {device} a run that was trained on {saved['device']}:"
                " the results are no longer exactly repeatable"
            )

    def _print_header(self) -> None:
        cfg, trainer = self.cfg, self.trainer
        optim, sched = (
            str(part.get("_target_", "constant")).rsplit(".", 1)[-1]
            for part in (cfg.optim, cfg.sched)
        )
        epochs = f"{trainer.max_epochs} epoch{'s' * (trainer.max_epochs != 1)}"
        settings = (
            f"{optim} lr {cfg.optim.lr:g}, {sched}, batch {self.data.batch_size},"
            f" {epochs}, seed {cfg.seed}"
        )
        device = f"{self.record['hardware']}, {trainer.precision}"
        console.print_run_header(self.summary, self.data, settings, device, self.folder)

    def _complete_record(self) -> None:
        best = self.checkpoints.best
        self.record |= {
            "objective": best.get("score"),
            "metrics": best.get("metrics", {}),
            "best_epoch": best.get("epoch"),
            "epochs": len(self.history.rows),
            "symptoms": self.health.symptoms,
            "wall_s": round(self.history.wall_s, 3),
            "images_per_s": self.history.images_per_s,
            "params": self.summary.params,
            "neurons": self.summary.neurons,
            "seed": self.cfg.seed,
            "precision": self.cfg.trainer.precision,
            "effective_batch_size": self.cfg.effective_batch_size,
            "images": {split: sum(n.values()) for split, n in self.data.counts.items()},
            "command": provenance.command(),
            "best_sha256": checksum(self.folder / BEST) if (self.folder / BEST).exists() else None,
            "micro_batch": next((c.size for c in self.optional if isinstance(c, AutoBatch)), None),
            **provenance.peaks(),
        }
