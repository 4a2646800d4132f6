"""Report the hardware and versions, and create the noise images for timings."""

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alexlab import factory
from alexlab.data.cache import cores
from benchmarks.gpu_check.context import Context, Result
from benchmarks.gpu_check.training import compose, noise

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "optuna", "numpy")
CLASSES = [f"class_{i}" for i in range(10)]


def environment(context: Context) -> Iterator[Result]:
    """Report versions and the device, and measure its memory and matrix throughput."""
    versions = {name: version(name) for name in PACKAGES}
    told = ", ".join(f"{name} {number}" for name, number in versions.items())
    yield Result("env.versions", True, f"python {platform.python_version()}, {told}", versions)
    if not context.on_gpu:
        yield Result("env.cpu", True, f"{cores()} cores, {torch.get_num_threads()} threads")
        return
    if not torch.cuda.is_available():
        yield Result("env.gpu", False, "torch sees no GPU")
        return
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    free, total = torch.cuda.mem_get_info()
    major, minor = torch.cuda.get_device_capability()
    gpu = {
        "name": torch.cuda.get_device_name(),
        "capability": f"{major}.{minor}",
        "free_gb": round(free / 1e9, 1),
        "total_gb": round(total / 1e9, 1),
        "cudnn": torch.backends.cudnn.version(),
        "cuda": torch.version.cuda,
        "cpus": cores(),
        "nvidia_smi": listed.stdout.strip(),
    }
    text = f"{gpu['name']}, capability {gpu['capability']}, {gpu['free_gb']} GB free"
    yield Result("env.gpu", True, f"{text}, cuDNN {gpu['cudnn']}, {gpu['cpus']} CPUs", gpu)
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / _seconds(lambda: target.copy_(source)) / 1e12
    yield Result("env.copy", copied > 0, f"{copied:.2f} TB/s (an H100 has about 3.0)")
    left = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    product = 2 * 8192**3 / _seconds(lambda: left @ left) / 1e12
    yield Result("env.bf16", product > 0, f"{product:.0f} TFLOP/s (an H100 has about 800)")


def _seconds(work: Callable[[], object], repeats: int = 10) -> float:
    """Return the mean seconds of a call, after a warm-up."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def noise_images(context: Context) -> Iterator[Result]:
    """Write noise PNGs in the layout of CIFAR-10 and decode them to both sizes."""
    start = time.perf_counter()
    train, test = context.pick((5000, 1000), (40, 10))
    folder = context.work / "noise"
    jobs = [
        (folder.with_suffix(".tmp") / split / name, count, seed)
        for seed, (split, count, name) in enumerate(
            (split, count, name)
            for split, count in (("train", train), ("test", test))
            for name in CLASSES
        )
    ]
    with ProcessPoolExecutor(cores(), mp_context=get_context("fork")) as pool:
        list(pool.map(write_noise, jobs))
    folder.with_suffix(".tmp").rename(folder)
    made = time.perf_counter() - start
    few = sorted(os.sched_getaffinity(0))[:4]  # more threads are slower on small images
    os.sched_setaffinity(0, few)
    for side in context.pick((64, 128), (64,)):
        data = factory.data_module(compose(context, *noise(context, side)))
    images = sum(sum(counts.values()) for counts in data.counts.values())
    decoded = time.perf_counter() - start - made
    expected = 10 * (train + test)
    text = f"{images:,} images written in {made:.1f} s, decoded in {decoded:.1f} s"
    yield Result("noise", images == expected, text)


def write_noise(job: tuple[Path, int, int]) -> None:
    """Write the images of one class; `job` is (folder, number of images, seed)."""
    folder, count, seed = job
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for i in range(count):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:04d}.png", compress_level=0)
