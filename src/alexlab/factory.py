"""Build the data module and the network that a composed config describes."""

from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from alexlab.data.datamodule import ImageFolderData
from alexlab.data.representation import Representation


def data_module(cfg: DictConfig) -> ImageFolderData:
    """Build the data module and prepare it, so that its classes and channels are known."""
    data = unprepared_data(cfg)
    data.prepare()
    return data


def unprepared_data(cfg: DictConfig) -> ImageFolderData:
    """Build the data module without reading a file."""
    data: ImageFolderData = instantiate(
        cfg.data,
        augment=instantiate(cfg.augment) or None,
        seed=cfg.seed,
        cache_dir=cfg.cache_dir,
        _convert_="all",
    )
    if "low" in cfg.task:
        data.score_range = cfg.task.low, cfg.task.high
    return data


def network(cfg: DictConfig, num_outputs: int, in_channels: int, resolution: int) -> nn.Module:
    """Build the net for images [N, in_channels, resolution, resolution]."""
    net: nn.Module = instantiate(
        cfg.model,
        num_outputs=num_outputs,
        in_channels=in_channels,
        resolution=resolution,
        _convert_="all",
    )
    return net


def untrained_network(cfg: DictConfig, num_outputs: int) -> tuple[nn.Module, dict[str, int]]:
    """Build the net on the meta device, without a data set and without memory for the weights.

    Returns:
        The net with `num_outputs` outputs (1 for a regression), and the shape of its input as
        `in_channels` and `resolution`.
    """
    is_regression = cfg.task._target_.endswith("Regression")
    classes = 1 if is_regression else num_outputs
    task: Any = instantiate(cfg.task, num_outputs=classes, _convert_="all")
    channels = Representation(cfg.data.representation).num_channels
    shape = {"in_channels": channels, "resolution": cfg.data.resolution}
    with torch.device("meta"):
        return network(cfg, task.num_outputs, **shape), shape
