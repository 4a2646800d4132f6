"""Estimate the time, disk space and memory of a run before any run of its sweep has finished.

The seconds are rough: the time of a step is a sum of terms for its multiply-adds and its weights,
and a constant. The rates below were measured on one thread of an AMD EPYC in float32, with AlexNet
(width 1 and 0.5) and the small CNN at 64 px; they agreed within a factor of two. In the first two
terms, n threads are assumed to be n times as fast, and a GPU `GPU` times. After the first finished
run, the sweep uses the measured time instead.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from alexlab.models.summary import summarize
from alexlab.performance.devices import GPU_ACCELERATORS, cores

LOGS = 2_000_000  # bytes of a run's history, log and dashboards
MAC_S, WEIGHT_S, STEP_S, GPU = 80e-12, 1e-9, 4e-3, 50
TESTS = 1.15  # factor for val after each epoch and for the test
PROCESS = 500_000_000  # bytes of memory of a run without its net
START_S = 5.0


def estimate(config: Mapping[str, Any]) -> tuple[int, int, float | None]:
    """Estimate the bytes of a run during training and after its end, and its seconds.

    last.ckpt contains the weights and the optimiser's moments, each as large as the weights;
    best.ckpt contains the weights. During a save, three versions of each exist.

    Args:
        config: The composed, resolved config of a run.

    Returns:
        (bytes, bytes, seconds); seconds is None if the number of images is not known.
    """
    resolution = config["data"]["resolution"]
    net = _net(config)
    weights, moments = _weights(net), _moments(config)
    running = 3 * weights * (1 + moments) + 3 * weights
    ended = LOGS + (weights if config["sweep"]["keep_best"] is None else 0)
    images = _training_images(config["data"])
    if images is None:
        return running, ended, None
    summary = summarize(net, in_channels=_channels(net), resolution=resolution)
    return running, ended, _seconds(config, images, summary.macs, summary.params)


def cpu_jobs(config: Mapping[str, Any]) -> int:
    """Return the number of runs at a time that is the fastest: one run with one thread per CPU.

    Two runs at a time with one thread each take less time than two runs one after the other with
    two threads: the steps of a small net, and all work other than steps, use one thread. If memory
    bandwidth is the limit, as with 57 million parameters, the gain is small (benchmarks/results).
    The number is smaller if a run has several devices, or if the free memory has no room for more.
    It is 1 for other accelerators, such as MPS.

    Args:
        config: The composed, resolved config of a run.
    """
    trainer, data = config["trainer"], config["data"]
    other = trainer["accelerator"] not in (*GPU_ACCELERATORS, "cpu")
    if other or (trainer["accelerator"] == "auto" and torch.backends.mps.is_available()):
        return 1
    net, devices = _net(config), trainer["devices"]
    ranks = devices if isinstance(devices, int) and devices > 0 else 1
    summary = summarize(net, in_channels=_channels(net), resolution=data["resolution"])
    # weights, their gradients, the best epoch's weights, moments; activations and their gradients
    state = _weights(net) * (3 + _moments(config)) + 3 * 4 * summary.neurons * data["batch_size"]
    room = int(_free_memory() // (ranks * (PROCESS + state)))
    return max(1, min(cores() // ranks, room))


def _free_memory() -> int:
    """Return the free bytes of this machine or container, the smaller; a huge number if unknown."""
    found = [1 << 50]
    with suppress(OSError, ValueError, LookupError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        sizes = {line.split(":")[0]: line.split()[1] for line in lines}
        found.append(1024 * int(sizes["MemAvailable"]))
    with suppress(OSError, ValueError):  # no cgroup, or the limit is "max"
        limits = Path("/sys/fs/cgroup")
        used = int((limits / "memory.current").read_text())
        found.append(int((limits / "memory.max").read_text()) - used)
    return max(0, min(found))


def _net(config: Mapping[str, Any]) -> torch.nn.Module:
    """Build the net on the meta device, without memory for its weights."""
    with torch.device("meta"):
        net: torch.nn.Module = instantiate(
            OmegaConf.create(config["model"]),
            num_outputs=10,
            resolution=config["data"]["resolution"],
            _convert_="all",
        )
    return net


def _weights(net: torch.nn.Module) -> int:
    """Return the bytes of the weights of `net`."""
    return sum(p.numel() * p.element_size() for p in net.parameters())


def _moments(config: Mapping[str, Any]) -> int:
    """Return how many numbers the optimiser stores per weight."""
    name = str(config["optim"]["_target_"]).rsplit(".", 1)[-1]
    return 2 if "Adam" in name else int(bool(config["optim"].get("momentum", 0)))


def _channels(net: torch.nn.Module) -> int:
    """Return the number of input channels of `net`."""
    first = next((m for m in net.modules() if isinstance(m, torch.nn.Conv2d)), None)
    return first.in_channels if first is not None else 3


def _seconds(config: Mapping[str, Any], images: float, macs: int, weights: int) -> float:
    """Estimate the seconds of a run on `images` training images."""
    trainer, batch = config["trainer"], config["data"]["batch_size"]
    on_gpu = trainer["accelerator"] in GPU_ACCELERATORS and torch.cuda.is_available()
    jobs = config["sweep"]["n_jobs"] or 1
    threads = max(1, cores() // (cpu_jobs(config) if jobs == "auto" else jobs))
    speed = GPU if on_gpu else threads
    step = (batch * macs * MAC_S + weights * WEIGHT_S) / speed + STEP_S
    epochs = int(trainer["max_epochs"]) + bool(config.get("fit_metrics"))  # it costs about an epoch
    steps = epochs * max(1.0, images / batch)
    return float(START_S + TESTS * steps * step)


def _training_images(data: Mapping[str, Any]) -> float | None:
    """Estimate the number of train images from num_images or the files in root; None if unknown."""
    count = data.get("num_images")
    if count is None:
        root = Path(str(data["root"]))
        count = sum(len(names) for _, _, names in os.walk(root)) if root.is_dir() else 0
    if count < 10:  # a single file may contain all images
        return None
    share = 1 - data.get("val_fraction", 0) - data.get("test_fraction", 0)
    return float(count * share * data.get("fraction", 1))
