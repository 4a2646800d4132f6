"""Build the data module and the network that a composed config describes."""

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from alexlab.data.datamodule import ImageFolderData


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
