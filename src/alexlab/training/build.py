"""From a composed config to the objects that train: the one place where config becomes code."""

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

# of the Trainer: what we do, or do otherwise
RESERVED = ("logger", "enable_progress_bar", "enable_model_summary", "use_distributed_sampler")


def learner(cfg: DictConfig, data: ImageFolderData) -> Learner:
    """The net with weights drawn from `seed`, on the task, with its optimiser and schedule."""
    task = instantiate(cfg.task, num_outputs=data.num_outputs, _convert_="all")
    torch.manual_seed(cfg.seed)
    net = network(cfg, task.num_outputs, data.in_channels, data.resolution)
    net.to(memory_format=torch.channels_last)
    optim = instantiate(cfg.optim, _convert_="all")
    return Learner(net, task, optim=optim, sched=instantiate(cfg.sched, _convert_="all") or None)


def optimize_for_device(cfg: DictConfig, net: nn.Module) -> None:
    """Compile the net, or let oneDNN do its wide layers; it computes the same.

    Last of all: what looks at a net with tensors that hold nothing cannot look at a compiled one.
    """
    if cfg.compile:
        net.compile()
    else:
        use_onednn(net)


def trainer_options(cfg: DictConfig) -> dict[str, Any]:
    """Keyword arguments of Lightning's Trainer.

    Raises:
        ValueError: There is nothing to train, or what a run does itself is to be done otherwise.
    """
    options: dict[str, Any] = {**dict.fromkeys(RESERVED, False), "num_sanity_val_steps": 0}
    options |= {"deterministic": cfg.deterministic, "plugins": [DurableCheckpointIO()]}
    if taken := sorted((options.keys() - {"num_sanity_val_steps"}) & cfg.trainer.keys()):
        raise ValueError(f"trainer.{taken[0]} cannot be set: a run does that in its own way")
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
    """What is asked for beside the training itself.

    Raises:
        ValueError: Two of them that do not go together.
    """
    wanted: list[Callback] = []
    if cfg.ema_decay is not None:
        if cfg.trainer.precision in ("bf16-true", "16-true"):
            raise ValueError(
                f"ema_decay={cfg.ema_decay} moves an average by less than half precision can hold:"
                " take trainer.precision=bf16-mixed or 32-true"
            )
        wanted.append(EMAWeightAveraging(decay=cfg.ema_decay))
    if cfg.patience is not None:
        mode = "max" if maximizes(cfg) else "min"
        stopping = EarlyStopping(
            cfg.objective, mode=mode, patience=cfg.patience, check_finite=False
        )
        wanted.append(stopping)
    if lookup("diagnostics", cfg.diagnostics, {"on": True, "off": False}):
        if cfg.compile:
            raise ValueError("diagnostics=on looks into layers that compile=true hides: choose one")
        wanted += [Diagnostics(board.history), ImageLogger(board)]
    if cfg.trainer.auto_batch:
        wanted.append(AutoBatch())
    if cfg.trial is not None:  # of a sweep that prunes
        wanted.append(Pruning(cfg.objective, dict(cfg.trial)))
    return wanted


def maximizes(cfg: DictConfig) -> bool:
    """Whether more of the objective is better."""
    return lookup("direction", cfg.direction, {"maximize": True, "minimize": False})
