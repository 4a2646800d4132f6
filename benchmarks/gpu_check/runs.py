"""Train with settings that behave differently on a GPU, and check the records of the runs."""

import math
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging

from alexlab.training.callbacks.moving_average import average_of
from benchmarks.gpu_check import names
from benchmarks.gpu_check.context import Context, Result
from benchmarks.gpu_check.training import (
    EpochClock,
    GradNorms,
    command_train,
    noise,
    shapes,
    train,
)

SMALL = ["model=alexnet", "model.width=0.25", "model.head=[64,64]", "trainer.max_epochs=1"]
LEARNS = [  # test/acc was 0.83 to 0.89 over six seeds and splits
    *("model=alexnet", "model.width=0.5", "model.head=[256,256]", "data=pokemon"),
    *("data.batch_size=16", "optim.lr=0.03", "sched=cosine", "trainer.max_epochs=60"),
]


def default(context: Context) -> Iterator[Result]:
    """Train the default run with the command line and check its metrics.json."""
    short = ["trainer.max_epochs=2", "data.num_images=300", "data.resolution=32"]
    done, metrics = command_train(
        context, "default", *context.pick([], short), timeout=context.pick(100, 60)
    )
    yield Result(
        "train.default", done.code == 0 and bool(metrics), f"{done.seconds:.1f} s", metrics
    )
    if done.code:
        yield Result("train.default.end", False, done.end)
        return
    context.remember("start_s", done.seconds - metrics["wall_s"])
    device = torch.cuda.get_device_name() if context.on_gpu else "cpu"
    hardware = metrics[names.HARDWARE]
    yield Result("train.hardware", device in hardware, hardware)
    precision = str(metrics.get(names.PRECISION))
    wanted = context.pick("bf16-mixed", "32-true")
    yield Result("train.precision", precision == wanted, f"{precision} (expected {wanted})")
    batch = metrics.get(names.EFFECTIVE_BATCH)
    yield Result("train.effective_batch", batch == 16, f"{batch} (expected 16)")
    if context.on_gpu:
        peak = metrics[names.PEAK_GPU_MB]
        yield Result("train.peak_gpu_mb", bool(peak), f"{peak} MB")
    start_s = done.seconds - metrics["wall_s"]
    yield Result("train.start", True, f"{start_s:.1f} s of the command are not the run's own")


def missing_gpu(context: Context) -> Iterator[Result]:
    """Check that without a GPU accelerator=gpu is an error, and accelerator=auto uses the CPU."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    tiny = [*shapes(100), "trainer.max_epochs=1"]
    done, metrics = command_train(context, "hidden", *tiny, environment=hidden)
    hardware = str(metrics.get(names.HARDWARE))
    yield Result("device.hidden", done.code == 0 and hardware.startswith("cpu"), hardware)
    asked = [*tiny, "trainer.accelerator=gpu"]
    done, _ = command_train(context, "asked", *asked, environment=hidden)
    errors = [line for line in done.output.splitlines() if line.startswith("error")]
    yield Result("device.missing", done.code == 1 and len(errors) == 1, done.end)


def resident(context: Context) -> Iterator[Result]:
    """Check that a data set that fits into the GPU's memory is copied there."""
    data = train(context, "resident", *shapes(200), *SMALL).training.data
    images, targets = next(iter(data.train_dataloader()))  # Lightning has not moved them
    yield Result("data.resident", images.is_cuda and targets.is_cuda, f"batches on {images.device}")


def clipping(context: Context) -> Iterator[Result]:
    """Clip gradients in bf16-mixed with every optimiser; the norm must not exceed the limit."""
    for optim in ("sgd", "adam", "adamw", "rmsprop"):
        name, norms = f"clipping.{optim}", GradNorms()
        settings = [f"optim={optim}", "trainer.gradient_clip_val=0.01"]
        try:
            precision = "trainer.precision=bf16-mixed"
            train(context, name, *shapes(200), *SMALL, *settings, precision, callbacks=[norms])
        except Exception as error:
            yield Result(name, False, f"{type(error).__name__}: {str(error)[:200]}")
            continue
        largest = max(norms.norms)
        ok = 0.0099 < largest < 0.0101  # without clipping the norm is above the limit
        yield Result(name, ok, f"largest norm {largest:.4f} (limit 0.01)")


class AverageDevice(L.Callback):
    """Store the device of the averaged weights."""

    device = "nowhere"

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Store the device before the callback deletes the average."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if (
                isinstance(callback, WeightAveraging)
                and (average := average_of(callback)) is not None
            ):
                self.device = next(average.parameters()).device.type


def averaging(context: Context) -> Iterator[Result]:
    """Check that averaged weights are on the net's device and take little time."""
    steps: dict[str, float] = {}
    look = AverageDevice()
    for name, settings in (("without", []), ("with", ["ema_decay=0.999"])):
        clock = EpochClock()
        size = context.pick(
            [*noise(context), "+trainer.limit_train_batches=60", "trainer.max_epochs=3"],
            [*shapes(120), *SMALL, "trainer.max_epochs=2"],
        )
        run = train(context, f"ema.{name}", *size, *settings, callbacks=[clock, look])
        steps[name] = min(clock.training_s[1:]) / run.training.trainer.num_training_batches
    yield Result("ema.device", look.device == context.device, look.device)
    ratio = steps["with"] / steps["without"]
    text = f"{1e3 * steps['with']:.2f} ms per step, {ratio:.2f} of a step without (limit 1.15)"
    yield Result("ema.speed", ratio <= 1.15 or not context.on_gpu, text, steps)


def precisions(context: Context) -> Iterator[Result]:
    """Train in each precision; it must be recorded, and the loss must decrease."""
    asked = context.pick(
        ["32-true", "bf16-mixed", "bf16-true", "16-mixed"], ["32-true", "bf16-mixed", "bf16-true"]
    )
    for precision in asked:
        name = f"precision.{precision}"
        settings = [f"trainer.precision={precision}", "trainer.max_epochs=3", "model.norm=batch"]
        try:
            run = train(context, name, *shapes(300), *SMALL, *settings)
        except Exception as error:
            yield Result(name, False, f"{type(error).__name__}: {str(error)[:200]}")
            continue
        losses = [float(row["train/loss"]) for row in run.history]
        recorded = run.metrics.get(names.PRECISION)
        ok = losses[-1] < losses[0] and recorded == precision
        text = f"recorded {recorded}, loss {losses[0]:.3f} -> {losses[-1]:.3f}"
        yield Result(name, ok, text)


def scaled_gradients(context: Context) -> Iterator[Result]:
    """Compare the gradient norms that diagnostics shows under 16-mixed with those of 32-true."""
    found: dict[str, dict[str, float]] = {}
    for precision in ("32-true", "16-mixed"):
        still = ["optim.lr=1e-6", "optim.momentum=0", "model.dropout=0", "diagnostics=on"]
        settings = [*still, f"trainer.precision={precision}"]
        run = train(context, f"scaled.{precision}", *shapes(300), *SMALL, *settings)
        row = run.history[0]
        found[precision] = {k: float(v) for k, v in row.items() if k.endswith("grad_norm")}
    ratios = {k: found["16-mixed"][k] / v for k, v in found["32-true"].items()}
    worst = max(ratios.values(), key=lambda ratio: abs(math.log(ratio)))
    text = f"16-mixed has {worst:.3g} of the norm of 32-true in the worst of {len(ratios)} layers"
    yield Result("precision.grad_norm", 0.95 <= worst <= 1.05, text, ratios)


FEATURES = {
    "regression": ["task=regression", "data.targets=score"],
    "pretrained": ["model=pretrained", "model.weights=none", "model.name=mobilenet_v3_small"],
    "ten_crops": [*SMALL, "test_crops=[1,10]"],
    "diagnostics": [*SMALL, "diagnostics=on"],
    "plateau": [*SMALL, "sched=plateau"],
    "accumulate": [*SMALL, "trainer.accumulate_grad_batches=2"],
    "not_cached": [*SMALL, 'data.cache="off"'],
}


def features(context: Context) -> Iterator[Result]:
    """Train one epoch with each of several settings; all must finish with finite numbers."""
    for feature, settings in FEATURES.items():
        name = f"feature.{feature}"
        try:
            run = train(context, name, *shapes(120), "trainer.max_epochs=1", *settings)
        except Exception as error:
            yield Result(name, False, f"{type(error).__name__}: {str(error)[:200]}")
            continue
        bad = [key for key, value in run.metrics["metrics"].items() if not math.isfinite(value)]
        ok = run.metrics["status"] == "finished" and not bad
        yield Result(name, ok, f"{run.wall_s:.1f} s" + (f", not finite: {bad}" if bad else ""))


def accuracy(context: Context) -> Iterator[Result]:
    """Train on real images: the test accuracy must be that of the same run on a CPU."""
    if context.data_dir is None or not (context.data_dir / "pokemon").is_dir():
        yield Result("accuracy.pokemon", False, "DATA_DIR has no pokemon/<class>/*")
        return
    run = train(context, "pokemon", *LEARNS, f"data_dir={context.data_dir}")
    acc = run.metrics["metrics"]["test/acc"]
    text = f"test/acc {acc:.3f} (a CPU: 0.83 to 0.89), {run.wall_s:.1f} s"
    yield Result("accuracy.pokemon", acc >= 0.78, text, run.metrics)


def compiled(context: Context, mode: str, state: str) -> Iterator[Result]:
    """Measure the first step and an epoch with `compile`, cold or with Inductor's disk cache."""
    clock = EpochClock()
    size = [*noise(context), "+trainer.limit_train_batches=60", "trainer.max_epochs=3"]
    run = train(context, f"compile.{mode}.{state}", *size, f"compile={mode}", callbacks=[clock])
    step = 1e3 * min(clock.training_s[1:]) / run.training.trainer.num_training_batches
    text = f"first step {clock.first_step_s:.1f} s, then {step:.2f} ms; {run.wall_s:.1f} s in all"
    numbers: dict[str, Any] = {"first_step_s": clock.first_step_s, "step_ms": step}
    yield Result(f"compile.{mode}.{state}", run.metrics["status"] == "finished", text, numbers)


def compile_default_cold(context: Context) -> Iterator[Result]:
    """Compile with an empty cache."""
    yield from compiled(context, "default", "cold")


def compile_default_warm(context: Context) -> Iterator[Result]:
    """Compile with the cache of the run before."""
    yield from compiled(context, "default", "warm")


def compile_graphs(context: Context) -> Iterator[Result]:
    """Compile with CUDA graphs."""
    yield from compiled(context, "reduce-overhead", "cold")
