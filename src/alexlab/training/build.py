"""Build the objects that train from a composed config."""

from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging
from omegaconf import DictConfig
from torch import nn

from alexlab.data.datamodule import ImageFolderData
from alexlab.errors import lookup
from alexlab.factory import network
from alexlab.performance.onednn_linear import use_onednn
from alexlab.runs.checkpoint import DurableCheckpointIO
from alexlab.training.callbacks.auto_batch import AutoBatch
from alexlab.training.callbacks.diagnostics import Diagnostics
from alexlab.training.callbacks.pruning import Pruning
from alexlab.training.callbacks.tensorboard import ImageLogger, TensorBoard
from alexlab.training.module import Learner
from hydra_plugins.hydra_study_sweeper.pruning import TrialReporter

# arguments of Lightning's Trainer that a run sets itself
RESERVED = ("logger", "enable_progress_bar", "enable_model_summary", "use_distributed_sampler")


def learner(cfg: DictConfig, data: ImageFolderData) -> Learner:
    """Build the net, with weights drawn from `seed`, its task, optimiser and schedule."""
    task = instantiate(cfg.task, num_outputs=data.num_outputs, _convert_="all")
    torch.manual_seed(cfg.seed)
    net = network(cfg, task.num_outputs, data.in_channels, data.resolution)
    net.to(memory_format=torch.channels_last)
    optim = instantiate(cfg.optim, _convert_="all")
    return Learner(net, task, optim=optim, sched=instantiate(cfg.sched, _convert_="all") or None)


def optimize_for_device(cfg: DictConfig, net: nn.Module) -> None:
    """Compile the net, or compute its wide layers with oneDNN; the results stay the same.

    Call it last: shape inference on the meta device fails on a compiled module.
    """
    if cfg.compile:
        net.compile()
    else:
        use_onednn(net)


def trainer_options(cfg: DictConfig) -> dict[str, Any]:
    """Return the keyword arguments of Lightning's Trainer.

    Raises:
        ValueError: There is no epoch to train, or an argument is set that a run sets itself.
    """
    options: dict[str, Any] = {**dict.fromkeys(RESERVED, False), "num_sanity_val_steps": 0}
    options |= {"deterministic": cfg.deterministic, "plugins": [DurableCheckpointIO()]}
    if reserved := sorted((options.keys() - {"num_sanity_val_steps"}) & cfg.trainer.keys()):
        name = reserved[0]
        raise ValueError(f"trainer.{name} cannot be set: a run sets {name} itself; remove it")
    options |= cfg.trainer
    del options["auto_batch"]
    if options["max_epochs"] < 1:
        raise ValueError(f"trainer.max_epochs={options['max_epochs']}: must be at least 1")
    if options["precision"] == "auto":
        on_gpu = options["accelerator"] in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        fast = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        options["precision"] = "bf16-mixed" if fast else "32-true"
    return options


def optional_callbacks(cfg: DictConfig, board: TensorBoard) -> list[Callback]:
    """Return the callbacks that the config asks for beside those of every run.

    Raises:
        ValueError: Two settings exclude each other.
    """
    callbacks: list[Callback] = []
    if cfg.ema_decay is not None:
        if cfg.trainer.precision in ("bf16-true", "16-true"):
            raise ValueError(
                f"ema_decay={cfg.ema_decay}: the moving average changes by less than"
                f" trainer.precision={cfg.trainer.precision} can hold;"
                " use trainer.precision=bf16-mixed or 32-true"
            )
        callbacks.append(EMAWeightAveraging(decay=cfg.ema_decay))
    if cfg.patience is not None:
        mode = "max" if maximizes(cfg) else "min"
        stopping = EarlyStopping(
            cfg.objective, mode=mode, patience=cfg.patience, check_finite=False
        )
        callbacks.append(stopping)
    if lookup("diagnostics", cfg.diagnostics, {"on": True, "off": False}):
        if cfg.compile:
            raise ValueError(
                "diagnostics=on reads single layers, which compile=true fuses: choose one of them"
            )
        callbacks += [Diagnostics(board.history), ImageLogger(board)]
    if cfg.trainer.auto_batch:
        callbacks.append(AutoBatch())
    if (reporter := TrialReporter.from_hydra()) is not None:
        callbacks.append(Pruning(cfg.objective, reporter))
    return callbacks


def maximizes(cfg: DictConfig) -> bool:
    """Return whether a larger objective is better."""
    return lookup("direction", cfg.direction, {"maximize": True, "minimize": False})
