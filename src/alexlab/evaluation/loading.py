"""Load a trained net from its run folder, for evaluation, prediction and export.

Neither the data set nor published weights are needed, since best.ckpt has all weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from alexlab import factory
from alexlab.data.datamodule import ImageFolderData
from alexlab.data.decode import DEFAULT_WHITE, White
from alexlab.data.preprocess import Preprocess
from alexlab.evaluation.inference import Crops
from alexlab.library_warnings import filter_warnings
from alexlab.runs import config as run_config
from alexlab.runs.checkpoint import check_fits, checksum
from alexlab.runs.checkpoint import load as load_checkpoint
from alexlab.runs.folder import BEST, METRICS, read_metrics
from alexlab.runs.locate import resolve_run_dir
from alexlab.runs.settings import check_settings
from alexlab.training.module import Task

# data settings that the net depends on, or that do not choose images
FIXED = ("_target_", "resolution", "representation", "batch_size", "seed", "cache_dir")


@dataclass(frozen=True)
class LoadedRun:
    """Net of a finished run, with the weights of its best epoch."""

    folder: Path
    cfg: DictConfig
    net: nn.Module  # standardised images [N, C, R, R] -> outputs [N, num_outputs]; in eval mode
    task: Task  # outputs -> probabilities or scores, and their metrics
    view: Preprocess  # uint8 [N, 3, S, S] -> input of the net
    classes: list[str]  # in the order of the outputs; empty for scores
    checkpoint: dict[str, Any]  # best.ckpt without the weights: epoch, score, metrics, fingerprint
    device: torch.device

    @property
    def resolution(self) -> int:
        """Return the side in pixels of the images that the net sees."""
        return self.view.resolution

    def crops(self, number: int = 1) -> Crops:
        """Return a `Crops` of this run; with 1 crop it cuts as in validation."""
        data = self.cfg.data
        load_size = data.load_size or self.resolution
        return Crops(number, self.resolution, load_size, data.fit, self.white)

    @property
    def white(self) -> White:
        """Return the grey values that training scaled to 255 in images of more than 8 bits."""
        return White(*self.checkpoint.get("white", DEFAULT_WHITE))

    @torch.inference_mode()
    def predict(self, views: Tensor) -> Tensor:
        """Map views uint8 [N, 3, R, R] to probabilities [N, K] or scores [N, 1], on the CPU."""
        outputs = self.net(self.view(views.to(self.device), training=False))
        return self.task.predict(outputs.float()).cpu()

    def data(self, settings: Sequence[str] = (), *, foreign: bool = False) -> ImageFolderData:
        """Build the data set of the run, changed by `settings` such as `root=FOLDER`.

        With `foreign`, all images of another folder are test images, and may lack some classes;
        the run's own images in that folder keep their split.

        Raises:
            ValueError: A setting is not valid, or the data has other classes.
            FileNotFoundError: The data set is missing.
        """
        cfg = self.cfg.copy()
        cfg.data.batch_size = 1  # nothing is trained, so no data set is too small
        for setting in settings:
            key, _, value = setting.partition("=")
            key = key.removeprefix("data.")
            if key not in cfg.data or key in FIXED:
                known = ", ".join(name for name in cfg.data if name not in FIXED)
                raise ValueError(f"data.{key}: no such setting to change; choose from {known}")
            OmegaConf.update(cfg, f"data.{key}", OmegaConf.create(f"v: {value}").v)
        plain: Any = OmegaConf.to_container(cfg.data)
        check_settings({"data": plain})
        data = factory.unprepared_data(cfg)
        elsewhere = data.root != factory.unprepared_data(self.cfg).root
        try:
            data.prepare(all_test=foreign and elsewhere)
        except FileNotFoundError as error:
            reason = str(error).partition(";")[0]
            raise FileNotFoundError(f"{reason}; give --data root=FOLDER") from None
        if foreign and elsewhere:
            if data.fingerprint == self.checkpoint["fingerprint"]:  # the run's images, moved
                data.prepare()
            elif {*data.classes} < {*self.classes}:
                places = [self.classes.index(name) for name in data.classes]
                own = data.targets.clamp(max=len(places) - 1)  # larger: images of unused classes
                data.targets, data.classes = torch.tensor(places)[own], self.classes
        if data.classes != self.classes:
            raise ValueError(f"{data.name} has {_differs(self.classes, data.classes)}")
        return data


def _differs(own: Sequence[str], others: Sequence[str]) -> str:
    """Describe how the classes `others` differ from those of the run."""
    if not own or not others:
        now, before = ("classes", "scores") if others else ("scores", "classes")
        return f"{now}, the run was trained on {before}"
    missing = [name for name in own if name not in others]
    foreign = [name for name in others if name not in own]
    parts = [f"missing: {', '.join(missing)}"] if missing else []
    parts += [f"unknown: {', '.join(foreign)}"] if foreign else []
    return "other classes than the run; " + ("; ".join(parts) or f"order {', '.join(others)}")


def load_run(run: str | Path, device: torch.device | None = None) -> LoadedRun:
    """Load the net of `run`, on the accelerator if there is one.

    Raises:
        FileNotFoundError: See `resolve_run_dir`.
        ValueError: See `resolve_run_dir`; or a file is damaged or cannot be trusted.
    """
    filter_warnings()
    folder = resolve_run_dir(run)
    cfg = run_config.read(folder)
    device = device or torch.accelerator.current_accelerator(True) or torch.device("cpu")
    checkpoint = load_checkpoint(folder / BEST)
    expected = (read_metrics(folder) or {}).get("best_sha256")
    if expected is not None and checksum(folder / BEST) != expected:
        raise ValueError(
            f"{folder / BEST} is not the file that this run wrote: {METRICS} has another checksum;"
            " restore that file, or train the run again"
        )
    classes: list[str] = checkpoint["classes"]
    task = instantiate(cfg.task, num_outputs=len(classes) or 1, _convert_="all")
    view = Preprocess(cfg.data.resolution, representation=cfg.data.representation)
    for key in {"weights", "freeze"} & set(cfg.model):  # the starting weights are not needed
        cfg.model[key] = "none"
    net = factory.network(cfg, task.num_outputs, view.num_channels, view.resolution)
    weights = checkpoint.pop("net")
    check_fits(weights, net.state_dict(), folder / BEST)
    net.load_state_dict(weights)
    net.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    return LoadedRun(folder, cfg, net, task, view, classes, checkpoint, device)
