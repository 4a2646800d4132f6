"""Check that runs repeat to the bit, resume to the bit, and agree with the CPU."""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import suppress

import torch

from alexlab.runs.folder import Stopped
from alexlab.training.run import TrainingRun
from benchmarks.gpu_check import names
from benchmarks.gpu_check.context import Context, Result
from benchmarks.gpu_check.training import (
    StepLosses,
    StopAt,
    Trained,
    command,
    shapes,
    train,
    weights,
)

EXACT = "deterministic=true"
ALEXNET = ["model=alexnet", "model.width=0.25", "model.head=[64,64]"]
# {name: (resolution, settings)}: each model at the sizes that its studies use
MODELS: dict[str, tuple[int, list[str]]] = {
    "alexnet.64px": (64, ["model=alexnet"]),
    "alexnet.128px": (128, ["model=alexnet"]),
    "alexnet.224px": (224, ["model=alexnet"]),
    "alexnet_torchvision.224px": (224, ["model=alexnet_torchvision"]),
    "small_cnn.64px": (64, ["model=small_cnn"]),
    "naive_cnn.100px": (100, ["model=naive_cnn"]),
    "score_cnn.128px": (128, ["model=score_cnn", "task=regression", "data.targets=score"]),
    "score_alexnet.128px": (128, ["model=score_alexnet", "task=regression", "data.targets=score"]),
    "pretrained.64px": (64, ["model=pretrained", "model.weights=none"]),
}
ON_CPU = ("alexnet.64px", "small_cnn.64px")


def deterministic(context: Context) -> Iterator[Result]:
    """Train twice with each model; the weights must be equal to the bit."""
    for model, (side, settings) in MODELS.items():
        if not context.on_gpu and model not in ON_CPU:
            continue
        name = f"deterministic.{model}"
        size = context.pick([], ["model.width=0.25"] if model.startswith("alexnet.") else [])
        short = [*shapes(60, side), "augment=alexnet", "trainer.max_epochs=1", EXACT]
        try:
            runs = [train(context, f"{name}.{i}", *settings, *size, *short) for i in "ab"]
        except Exception as error:
            text = f"{type(error).__name__}: {str(error)[:250]}"
            yield Result(name, False, text)
            continue
        sums = [run.metrics["best_sha256"] for run in runs]
        histories = [[{**row, "seconds": 0} for row in run.history] for run in runs]
        ok = same(runs[0], runs[1]) and sums[0] == sums[1] and histories[0] == histories[1]
        yield Result(name, ok, "the same to the bit" if ok else f"they differ: {sums}")
        for run in runs:
            shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)


def same(a: Trained, b: Trained) -> bool:
    """Return whether two runs have equal weights."""
    left, right = weights(a), weights(b)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def apart(a: Trained, b: Trained) -> float:
    """Return the largest difference of a weight."""
    left, right = weights(a), weights(b)
    return max(float((left[k].double() - right[k].double()).abs().max()) for k in left)


def resume(context: Context) -> Iterator[Result]:
    """Stop runs in the middle of an epoch, resume them, and compare with uninterrupted runs."""
    for name, settings in (("exact", [EXACT]), ("plain", [])):
        size = [*shapes(150), *ALEXNET, "augment=alexnet", "trainer.max_epochs=3", *settings]
        whole = train(context, f"resume.{name}.whole", *size)
        with suppress(Stopped):
            train(context, f"resume.{name}.parts", *size, callbacks=[StopAt(10)])
        stopped = json.loads((context.run_dir(f"resume.{name}.parts") / "metrics.json").read_text())
        parts = train(context, f"resume.{name}.parts", *size)
        difference = apart(whole, parts)
        limit = 0.0 if name == "exact" or not context.on_gpu else 1e-2
        ok = stopped["status"] == "stopped" and difference <= limit
        text = f"stopped in step 10, largest difference {difference:.2g} (limit {limit:g})"
        yield Result(f"resume.{name}", ok, text)


def repeat(context: Context) -> Iterator[Result]:
    """Repeat a run with `alexlab rerun`, which compares both runs to the bit."""
    size = [*shapes(150), *ALEXNET, "augment=alexnet", "trainer.max_epochs=2", EXACT]
    old = train(context, "rerun.old", *size).folder
    into = ["--into", str(context.run_dir("rerun.new"))]
    done = command("alexlab", "rerun", str(old), *into, timeout=90)
    yield Result("rerun", done.code == 0, done.end)


def against_cpu(context: Context) -> Iterator[Result]:
    """Train 20 steps in float32 on the GPU and on the CPU; the first losses must agree.

    Training amplifies rounding differences about tenfold in three steps, so that later losses are
    only close.
    """
    losses: dict[str, list[float]] = {}
    for device in ("gpu", "cpu"):
        watch = StepLosses()
        size = [*shapes(500), "model=small_cnn", "trainer.precision=32-true"]
        size += ["optim.lr=0.003", "trainer.max_epochs=1", "+trainer.limit_train_batches=20"]
        train(
            context,
            f"against_cpu.{device}",
            *size,
            f"trainer.accelerator={device}",
            callbacks=[watch],
            prepare=without_tf32,
        )
        losses[device] = watch.losses
    differences = [abs(a - b) for a, b in zip(losses["gpu"], losses["cpu"], strict=True)]
    first, later = max(differences[:5]), max(differences[5:])
    text = f"largest difference of losses 1 to 5 {first:.2g} (limit 1e-4), later {later:.2g} (0.1)"
    yield Result("against_cpu", first <= 1e-4 and later <= 0.1, text, losses)


def without_tf32(training: TrainingRun) -> None:
    """Turn TF32 off: compute float32 products in float32."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def serve(context: Context) -> Iterator[Result]:
    """Evaluate, predict and export the default run; its test accuracy must be the same."""
    run = context.run_dir("default")
    metrics = json.loads((run / "metrics.json").read_text())
    images = metrics["images"]["test"]
    done = command("alexlab", "evaluate", str(run), timeout=100)
    if done.code:
        yield Result("serve.evaluate", False, done.end)
    else:
        found = json.loads((run / "evaluation/evaluation.json").read_text())
        before, now = metrics["metrics"]["test/acc"], found["crops"][0]["acc"]["value"]
        ok = math.isclose(before, now, abs_tol=max(0.005, 1.01 / images))
        yield Result("serve.evaluate", ok, f"test/acc {before:.4f}, {now:.4f} on {found['device']}")
    pictures = sorted((context.work / "cache").rglob("*.png"))
    words = [str(run), str(pictures[0]), "--format", "jsonl"]
    done = command("alexlab", "predict", *words, timeout=100)
    lines = [json.loads(li) for li in done.output.splitlines() if li.startswith("{")]
    ok = done.code == 0 and len(lines) == 1 and "predictions" in lines[0]
    yield Result("serve.predict", ok, str(lines[0]["predictions"][0]) if ok else done.end)
    done = command("alexlab", "export", str(run), "--format", "onnx", timeout=100)
    yield Result("serve.export", done.code == 0, done.end)
    yield Result("serve.hardware", True, str(metrics.get(names.HARDWARE)))
