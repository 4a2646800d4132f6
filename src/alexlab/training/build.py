"""Build the learner, trainer, callbacks and loggers that a composed config describes."""

import inspect
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers.logger import Logger
from omegaconf import DictConfig
from torch import nn

from alexlab.data.datamodule import ImageFolderData
from alexlab.errors import lookup, missing_extra
from alexlab.factory import network, untrained_network
from alexlab.models.resolution import meta_forward
from alexlab.performance.devices import (
    GPU_ACCELERATORS,
    effective_batch_size,
    resolve_precision,
)
from alexlab.performance.onednn_linear import use_onednn
from alexlab.runs.checkpoint import DurableCheckpointIO
from alexlab.training.callbacks.auto_batch import AutoBatch
from alexlab.training.callbacks.diagnostics import Diagnostics
from alexlab.training.callbacks.max_steps import MaxSteps
from alexlab.training.callbacks.moving_average import MovingAverage
from alexlab.training.callbacks.pruning import Pruning
from alexlab.training.callbacks.tensorboard import ImageLogger, TensorBoard
from alexlab.training.mixed_precision import clip_with_fused_optimizers
from alexlab.training.module import Learner, Task
from alexlab.training.step_hooks import NoProfiler, skip_empty_hooks
from hydra_plugins.hydra_study_sweeper.pruning import TrialReporter

# arguments of the Trainer that a run sets itself; alexlab.runs.settings refuses them as settings
OFF = ("logger", "enable_progress_bar", "enable_model_summary", "use_distributed_sampler")

DEVICE_SETTINGS = ("accelerator", "devices", "strategy", "precision")  # depend on the machine

LOGGER_EXTRAS = ("wandb", "mlflow", "trackio", "aim")  # extras in pyproject.toml

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")

# layers without a deterministic backward pass on CUDA (torch.use_deterministic_algorithms);
# AdaptiveAvgPool2d to 1 x 1 has one, since it is a mean
NONDETERMINISTIC = (
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.FractionalMaxPool2d,
    nn.ReflectionPad2d,
    nn.ReplicationPad2d,
    nn.Upsample,
)


def with_resolved_devices(cfg: DictConfig) -> DictConfig:
    """Return a copy of the config with the precision and effective batch size of this machine.

    Raises:
        ValueError: If effective_batch_size differs from the product of the other settings.
    """
    cfg = cfg.copy()
    if cfg.trainer.precision == "auto":
        cfg.trainer.precision = resolve_precision(cfg.trainer.accelerator)
    effective = effective_batch_size(cfg.data.batch_size, cfg.trainer)
    if cfg.effective_batch_size != effective:
        raise ValueError(
            f"effective_batch_size={cfg.effective_batch_size}: the other settings give {effective}"
            " here; set trainer.devices, data.batch_size or trainer.accumulate_grad_batches"
        )
    return cfg


def check_deterministic(cfg: DictConfig) -> None:
    """Check that deterministic=true can work, before any data is loaded.

    Raises:
        ValueError: If a GPU is used that has no deterministic algorithm for a layer of the net.
    """
    on_gpu = cfg.trainer.accelerator in GPU_ACCELERATORS and torch.cuda.is_available()
    if not cfg.deterministic or not on_gpu:
        return
    net, shape = untrained_network(cfg, num_outputs=10)
    if layers := nondeterministic_layers(net, shape["in_channels"], shape["resolution"]):
        ways = ["model.pool_before_head=none"] * ("pool_before_head" in cfg.model)
        ways += ["a data.resolution at which the sizes agree", "trainer.accelerator=cpu"]
        raise ValueError(
            f"deterministic=true: CUDA has no deterministic backward pass for {layers[0]};"
            f" use {', '.join(ways[:-1])} or {ways[-1]}"
        )


def nondeterministic_layers(net: nn.Module, in_channels: int, resolution: int) -> list[str]:
    """Describe the layers of a net without a deterministic gradient on CUDA.

    Returns:
        One text per layer, such as "avgpool (AdaptiveAvgPool2d, 7 x 7 -> 6 x 6)".
    """
    layers: list[str] = []

    def note(name: str, layer: nn.Module, inputs: tuple[Any, ...], outputs: torch.Tensor) -> None:
        before, after = inputs[0].shape[-2:], outputs.shape[-2:]
        is_mean = isinstance(layer, nn.AdaptiveAvgPool2d) and after == (1, 1)
        if not is_mean:
            sizes = " -> ".join(f"{height} x {width}" for height, width in (before, after))
            layers.append(f"{name} ({type(layer).__name__}, {sizes})")

    with ExitStack() as hooks:
        for name, layer in net.named_modules():
            if isinstance(layer, NONDETERMINISTIC):
                hooks.enter_context(layer.register_forward_hook(partial(note, name)))
        meta_forward(net, in_channels, resolution)
    return layers


def learner(cfg: DictConfig, data: ImageFolderData) -> Learner:
    """Build the net (initial weights from `seed`), its task, optimiser and schedule."""
    task = instantiate(cfg.task, num_outputs=data.num_outputs, _convert_="all")
    torch.manual_seed(cfg.seed)
    net = network(cfg, task.num_outputs, data.in_channels, data.resolution)
    net.to(memory_format=torch.channels_last)
    optim = instantiate(cfg.optim, _convert_="all")
    return Learner(net, task, optim=optim, sched=instantiate(cfg.sched, _convert_="all") or None)


def check_epochs(cfg: DictConfig, learner: Learner, data: ImageFolderData) -> None:
    """Check that the learner can train on the data, before anything is written.

    Raises:
        ValueError: If the optimiser or schedule cannot work, the task does not have the objective,
            or an epoch would have no batch.
    """
    learner.configure_optimizers()
    check_objective(cfg, learner.task)
    check_limits(cfg, data)


def check_objective(cfg: DictConfig, task: Task) -> None:
    """Check that the objective is a metric of the task, with outputs for two dummy images.

    Raises:
        ValueError: If it is not; the message lists the metrics.
    """
    metrics = task.metrics()
    metrics.update(torch.zeros(2, task.num_outputs), torch.zeros(2, dtype=torch.long))
    names = [
        f"{split}/{name}" for split in ("val", "train") for name in ("loss", *metrics.compute())
    ]
    lookup("objective", cfg.objective, dict.fromkeys(names))


def check_limits(cfg: DictConfig, data: ImageFolderData) -> None:
    """Check that the fractions trainer.limit_{train,val,test}_batches give at least one batch.

    Raises:
        ValueError: If a fraction is less than one batch.
    """
    for split in ("train", "val", "test"):
        key, batches = f"limit_{split}_batches", len(getattr(data, f"{split}_dataloader")())
        limit = cfg.trainer.get(key)
        if isinstance(limit, float) and int(limit * batches) < 1:
            raise ValueError(
                f"trainer.{key}={limit}: less than one of the {batches} batches of {split};"
                f" use a whole number of batches, or at least {1 / batches:.2g}"
            )


def optimize_for_device(cfg: DictConfig, learner: Learner) -> None:
    """Compile the net, or compute its dense layers with oneDNN; results differ only by rounding.

    Call this last: shape inference on the meta device fails on a compiled module.
    """
    if mode := compile_mode(cfg):
        learner.compile_net(mode)
    else:
        use_onednn(learner.net)


def compile_mode(cfg: DictConfig) -> str | None:
    """Return the mode of torch.compile, or None for compile=false.

    Raises:
        ValueError: If the mode is unknown.
    """
    modes = {"false": None, "true": "default"} | {mode: mode for mode in COMPILE_MODES}
    return lookup("compile", str(cfg.compile).lower(), modes)


def trainer(cfg: DictConfig, **others: Any) -> L.Trainer:
    """Build Lightning's Trainer from the config and from `others`, which take precedence.

    Raises:
        ValueError: If Lightning refuses a setting, or nothing starts the other nodes.
    """
    options = trainer_options(cfg) | others
    options["profiler"] = options.get("profiler") or NoProfiler()
    try:
        built = L.Trainer(**options)
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        named = " ".join(f"trainer.{key}={options[key]}" for key in DEVICE_SETTINGS)
        raise ValueError(f"{named}: {' '.join(str(error).split())}") from error
    _check_nodes(built)
    clip_with_fused_optimizers(built)
    skip_empty_hooks(built)
    return built


def _check_nodes(trainer: L.Trainer) -> None:
    """Check that a cluster starts the other nodes; without one Lightning waits forever.

    Raises:
        ValueError: If there is no cluster environment and its variables are not set by hand.
    """
    cluster = getattr(trainer.strategy, "cluster_environment", None)
    named = "MASTER_ADDR" in os.environ and {"NODE_RANK", "GROUP_RANK"} & os.environ.keys()
    if trainer.num_nodes > 1 and isinstance(cluster, LightningEnvironment) and not named:
        raise ValueError(
            f"trainer.num_nodes={trainer.num_nodes}: no cluster found that starts the other nodes;"
            " start the run with SLURM or torchrun, or on each node with MASTER_ADDR, MASTER_PORT"
            " and NODE_RANK; on one machine set trainer.devices instead"
        )


def trainer_options(cfg: DictConfig) -> dict[str, Any]:
    """Return the keyword arguments of Lightning's Trainer."""
    options: dict[str, Any] = {**dict.fromkeys(OFF, False), "num_sanity_val_steps": 0}
    options |= {"deterministic": cfg.deterministic, "plugins": [DurableCheckpointIO()]}
    # cuDNN measures its algorithms and uses the fastest, which may differ from run to run
    options["benchmark"] = not cfg.deterministic
    if compile_mode(cfg):  # Lightning validates without inference mode: test shares val's graph
        options["inference_mode"] = False
    options |= cfg.trainer
    del options["auto_batch"]
    if options["precision"] == "auto":
        options["precision"] = resolve_precision(options["accelerator"])
    return options


def optional_callbacks(cfg: DictConfig, board: TensorBoard) -> list[Callback]:
    """Build the callbacks that the config turns on, in addition to those of every run.

    Raises:
        ValueError: If two settings exclude each other.
    """
    callbacks: list[Callback] = []
    if cfg.ema_decay is not None:
        if cfg.trainer.precision in ("bf16-true", "16-true"):
            raise ValueError(
                f"ema_decay={cfg.ema_decay}: trainer.precision={cfg.trainer.precision} is too"
                " coarse for the small changes of a moving average;"
                " use trainer.precision=bf16-mixed or 32-true"
            )
        callbacks.append(MovingAverage(decay=cfg.ema_decay))
    if cfg.patience is not None:
        mode = "max" if maximizes(cfg) else "min"
        stopping = EarlyStopping(
            cfg.objective, mode=mode, patience=cfg.patience, check_finite=False
        )
        callbacks.append(stopping)
    if lookup("diagnostics", cfg.diagnostics, {"on": True, "off": False}):
        if compile_mode(cfg):
            raise ValueError(
                "diagnostics=on: it measures single layers, but torch.compile fuses them; set"
                " compile=false or diagnostics=off"
            )
        callbacks += [Diagnostics(board.history), ImageLogger(board)]
    if cfg.trainer.get("max_steps", -1) > 0:
        callbacks.append(MaxSteps())
    if cfg.trainer.auto_batch:
        callbacks.append(AutoBatch())
    return callbacks


def pruning(cfg: DictConfig) -> list[Callback]:
    """Return the callback that prunes the trial, if its sweep has a pruner."""
    reporter = TrialReporter.from_hydra()
    return [] if reporter is None else [Pruning(cfg.objective, reporter)]


def loggers(cfg: DictConfig, folder: Path) -> list[Logger]:
    """Build the loggers of the group `logger`, without TensorBoard, which a run writes itself.

    A logger that has the arguments `save_dir` and `run_name` (or `name`) gets the run's folder and
    name, unless the config sets them.

    Raises:
        ValueError: If the package of a logger is not installed.
    """
    found: list[Logger] = []
    for name, part in (cfg.get("logger") or {}).items():
        if not part:
            continue
        try:
            make = instantiate(part, _convert_="all")
            takes = inspect.signature(make.func).parameters
            own = {"save_dir": str(folder)}
            own["run_name" if "run_name" in takes else "name"] = folder.name
            found.append(make(**{k: v for k, v in own.items() if k in takes and k not in part}))
        except (ImportError, InstantiationException) as error:
            cause = error.__cause__ if isinstance(error, InstantiationException) else error
            if isinstance(cause, ImportError) and name in LOGGER_EXTRAS:
                raise ValueError(missing_extra(name, f"logger={name}")) from error
            raise
    return found


def extra_callbacks(cfg: DictConfig) -> list[Callback]:
    """Build the callbacks of the group `callbacks`; they come after those of every run."""
    parts = (cfg.get("callbacks") or {}).values()
    return [instantiate(part, _convert_="all") for part in parts]


def maximizes(cfg: DictConfig) -> bool:
    """Return whether a larger objective is better."""
    return lookup("direction", cfg.direction, {"maximize": True, "minimize": False})
