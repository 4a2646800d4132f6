"""From a composed config to the objects that train: the one place where config becomes code."""

from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging
from omegaconf import DictConfig
from torch import nn

from src.callbacks.auto_batch import AutoBatch
from src.callbacks.board_pictures import Pictures
from src.callbacks.diagnostics import Diagnostics
from src.callbacks.pruning import Pruning
from src.callbacks.tensorboard import TensorBoard
from src.checkpoint_io import DurableCheckpointIO
from src.choices import choose
from src.data.image_folder import ImageFolderData
from src.learner import Learner
from src.wide_linear import use_onednn

# of the Trainer: what we do, or do otherwise
OURS = ("logger", "enable_progress_bar", "enable_model_summary", "use_distributed_sampler")


def data_module(cfg: DictConfig) -> ImageFolderData:
    """The data set, indexed, split and cached: its classes and channels are known afterwards."""
    data: ImageFolderData = instantiate(
        cfg.data,
        augment=instantiate(cfg.augment) or None,
        seed=cfg.seed,
        cache_dir=cfg.cache_dir,
        _convert_="all",
    )
    data.prepare()
    return data


def learner(cfg: DictConfig, data: ImageFolderData) -> Learner:
    """The net with weights drawn from `seed`, on the task, with its optimiser and schedule."""
    task = instantiate(cfg.task, num_outputs=data.num_outputs, _convert_="all")
    torch.manual_seed(cfg.seed)
    net = network(cfg, task.num_outputs, data.in_channels, data.resolution)
    net.to(memory_format=torch.channels_last)
    optim = instantiate(cfg.optim, _convert_="all")
    return Learner(net, task, optim=optim, sched=instantiate(cfg.sched, _convert_="all") or None)


def network(cfg: DictConfig, num_outputs: int, in_channels: int, resolution: int) -> nn.Module:
    """The net for images [N, in_channels, resolution, resolution]."""
    net: nn.Module = instantiate(
        cfg.model,
        num_outputs=num_outputs,
        in_channels=in_channels,
        resolution=resolution,
        _convert_="all",
    )
    return net


def hasten(cfg: DictConfig, net: nn.Module) -> None:
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
    options: dict[str, Any] = {**dict.fromkeys(OURS, False), "num_sanity_val_steps": 0}
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
    if choose("diagnostics", cfg.diagnostics, {"on": True, "off": False}):
        if cfg.compile:
            raise ValueError("diagnostics=on looks into layers that compile=true hides: choose one")
        wanted += [Diagnostics(board.history), Pictures(board)]
    if cfg.trainer.auto_batch:
        wanted.append(AutoBatch())
    if cfg.trial is not None:  # of a sweep that prunes
        wanted.append(Pruning(cfg.objective, dict(cfg.trial)))
    return wanted


def maximizes(cfg: DictConfig) -> bool:
    """Whether more of the objective is better."""
    return choose("direction", cfg.direction, {"maximize": True, "minimize": False})
