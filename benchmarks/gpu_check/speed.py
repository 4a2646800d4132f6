"""Measure steps and epochs, and count the kernels of a step with torch's profiler."""

import json
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_check.context import Context, Result
from benchmarks.gpu_check.training import (
    EpochClock,
    command,
    command_train,
    noise,
    shapes,
    synchronize,
    train,
)

FIRST, STEPS = 6, 20  # step before the profile, number of profiled steps
# an H200 starts 196 to 203 kernels per step
MOST_KERNELS = 250
# {resolution: (limit, goal)}: seconds of training per epoch of 48,000 images
EPOCH_S = {64: (1.5, 0.5), 128: (6.0, 0.8)}
PAPER_S = {64: (40, 60.0, 20.0), 128: (50, 300.0, 40.0)}  # epochs, limit, goal of the whole run


class Profiler(L.Callback):
    """Profile the kernels of STEPS training steps after the step FIRST."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.profile = profile(activities=[ProfilerActivity.CUDA])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start before the first step; stop and write the trace after the last one."""
        if trainer.current_epoch == 0 and batch_idx + 1 == FIRST:
            synchronize()
            self.profile.start()
        if trainer.current_epoch == 0 and batch_idx + 1 == FIRST + STEPS:
            synchronize()
            self.profile.stop()
            self.profile.export_chrome_trace(str(self.path))


def profiled(trace: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Summarise a Chrome trace: kernels and GPU milliseconds per step, busy share of the time."""
    events = [e for e in trace["traceEvents"] if e.get("ph") == "X" and "dur" in e]
    kernels = [e for e in events if e.get("cat") == "kernel"]
    on_gpu = [e for e in events if e.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    if not kernels:
        raise ValueError("the trace has no kernels")
    spans = sorted((float(e["ts"]), float(e["ts"]) + float(e["dur"])) for e in on_gpu)
    busy, end = 0.0, spans[0][0]
    for start, stop in spans:
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    times: Counter[str] = Counter()
    for event in kernels:
        times[short(event["name"])] += float(event["dur"])
    copies = Counter(e["name"].split(" (")[0] for e in on_gpu if e["cat"] != "kernel")
    return {
        "kernels": len(kernels) / steps,
        "copies": {name: count / steps for name, count in copies.items()},
        "gpu_ms": sum(end - start for start, end in spans) / 1e3 / steps,
        "step_ms": (end - spans[0][0]) / 1e3 / steps,
        "busy": busy / (end - spans[0][0]),
        "top": {name: time / 1e3 / steps for name, time in times.most_common(10)},
    }


def short(name: str) -> str:
    """Shorten the name of a kernel to 70 characters, without template arguments."""
    name = re.sub(r"^void ", "", name)
    functor = re.search(r"(\w+(?:Functor|_kernel_cuda|kernel)\w*)", name[20:])
    base = re.split(r"[<(]", name)[0]
    return (f"{base} {functor[1]}" if functor else base)[:70]


def kernels(context: Context) -> Iterator[Result]:
    """Profile training steps of AlexNet in three sizes, with and without normalisation."""
    sizes = {"64px_b256": (64, 256), "128px_b256": (128, 256), "64px_b8": (64, 8)}
    limits = [f"+trainer.limit_train_batches={FIRST + STEPS + 2}", "trainer.max_epochs=1"]
    limits += ["+trainer.limit_val_batches=1", "+trainer.limit_test_batches=1"]
    found: dict[str, dict[str, Any]] = {}
    for name, (side, batch) in sizes.items():
        for norm in ("lrn", "none") if batch > 8 else ("lrn",):
            trace = context.work / f"trace.{name}.{norm}.json"
            settings = [*noise(context, side), f"data.batch_size={batch}", f"model.norm={norm}"]
            watch = Profiler(trace)
            train(context, f"kernels.{name}.{norm}", *settings, *limits, callbacks=[watch])
            found[f"{name}.{norm}"] = profiled(json.loads(trace.read_text()), STEPS)
            trace.unlink()
        seen = found[f"{name}.lrn"]
        text = f"{seen['kernels']:.0f} kernels per step (limit {MOST_KERNELS})"
        text += f", GPU {seen['gpu_ms']:.2f} of {seen['step_ms']:.2f} ms, busy {seen['busy']:.0%}"
        text += f", copies {seen['copies']}"
        yield Result(f"kernels.{name}", seen["kernels"] <= MOST_KERNELS, text, seen)
        print(json.dumps(seen["top"], indent=1))
        if plain := found.get(f"{name}.none"):
            share = 1 - plain["gpu_ms"] / seen["gpu_ms"]
            text = f"{share:.0%} of the GPU's time (limit 40%), {seen['gpu_ms']:.2f} ms with it"
            yield Result(f"kernels.{name}.lrn", share <= 0.4, text, plain)


def epochs(context: Context) -> Iterator[Result]:
    """Measure seconds per epoch on noise images, and compare them with history.csv."""
    for side in context.pick((64, 128), (64,)):
        clock = EpochClock()
        tiny = ["model.width=0.25", "model.head=[64,64]", "data.batch_size=32"]
        settings = [*noise(context, side), *context.pick([], tiny), "trainer.max_epochs=3"]
        run = train(context, f"speed.{side}px", *settings, callbacks=[clock])
        own = [float(row["seconds"]) for row in run.history]
        ratio = statistics.median(a / b for a, b in zip(own, clock.training_s, strict=True))
        ok = 0.9 <= ratio <= 1.1 or not context.on_gpu
        yield Result(
            f"speed.{side}px.clock", ok, f"history.csv has {ratio:.3f} of the seconds measured"
        )
        seconds, whole = min(clock.training_s[1:]), min(clock.epochs_s[1:])
        limit, goal = EPOCH_S[side]
        numbers = {"training_s": clock.training_s, "epochs_s": clock.epochs_s, "own_s": own}
        text = f"{seconds:.3f} s of training per epoch, {whole:.3f} s with validation and saves"
        steps = run.training.trainer.num_training_batches
        text += f", {1e3 * seconds / steps:.2f} ms per step, first step {clock.first_step_s:.1f} s"
        numbers["rss_mb"] = run.metrics["peak_rss_mb"]
        yield Result(f"speed.{side}px", seconds <= limit or not context.on_gpu, text, numbers)
        if context.on_gpu:
            yield Result(f"speed.{side}px.goal", True, toward(seconds, goal))


def toward(seconds: float, goal: float) -> str:
    """Describe whether a goal is reached; a missed goal is not a failure."""
    reached = "reached" if seconds <= goal else "not reached"
    return f"{seconds:.2f} s, goal {goal:g} s: {reached}"


def small_batches(context: Context) -> Iterator[Result]:
    """Compare training in small batches with a bare loop over tensors on the device."""
    images, epochs = context.pick((9600, 3), (96, 2))
    bare = command(
        *("benchmarks.gpu_check.bare_loop", "--resolution=64", f"--images={images}"),
        f"--epochs={epochs}",
        "--precision=" + context.pick("bf16-mixed", "32-true"),
        timeout=100,
    )
    limit = float(bare.output.split()[-1])
    data = context.pick([*noise(context), "data.fraction=0.2", "augment=none"], shapes(137, 64))
    plain = ["model=alexnet_torchvision", "optim=sgd", "optim.lr=0.01", "data.batch_size=16"]
    run = train(context, "small_batches", *data, *plain, f"trainer.max_epochs={epochs}")
    ours = run.metrics["images_per_s"]
    text = f"{ours:.0f} images/s, {ours / limit:.2f} of a bare loop's {limit:.0f} (limit 0.9)"
    yield Result("speed.small_batches", ours >= 0.9 * limit or not context.on_gpu, text)


def paper(context: Context, side: int) -> Iterator[Result]:
    """Time the CIFAR-10 article's whole run with the command line, with decoded images."""
    epochs, limit, goal = PAPER_S[side]
    settings = [*noise(context, side), f"trainer.max_epochs={epochs}"]
    done, metrics = command_train(context, f"paper.{side}px", *settings, timeout=limit + 30)
    if done.code:
        yield Result(f"paper.{side}px", False, done.end)
        return
    text = f"{epochs} epochs in {done.seconds:.1f} s, of them {metrics['wall_s']:.1f} s in the run"
    yield Result(f"paper.{side}px", done.seconds <= limit, f"{text} (limit {limit:g} s)", metrics)
    yield Result(f"paper.{side}px.goal", True, toward(done.seconds, goal))


def paper_64(context: Context) -> Iterator[Result]:
    """Time 40 epochs at 64 pixels."""
    yield from paper(context, 64)


def paper_128(context: Context) -> Iterator[Result]:
    """Time 50 epochs at 128 pixels."""
    yield from paper(context, 128)
