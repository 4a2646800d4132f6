"""Measure the memory of a training by its number of images, and of a sweeper by its trials.

The memory of a training is RssAnon. It does not count memory-mapped files, because the system can
release their pages at any time.
"""

import json
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.process import PYTHON, run, run_measured
from benchmarks.table import Goal, Options, Row

STEPS = """
import json, re, sys
from pathlib import Path
from alexlab.runs.config import compose_config
from alexlab.training.run import TrainingRun

settings = ["data.resolution=64", "model=alexnet", "model.head=[256]", "trainer.max_epochs=1"]
settings += [f"data.num_images={sys.argv[1]}", "+trainer.limit_train_batches=30"]
Path("checkpoints").mkdir()
training = TrainingRun(compose_config(settings), Path.cwd(), {}, trial=True)
training.run()
status = Path("/proc/self/status").read_text()
print("\\n" + json.dumps(int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]) / 1024))
"""


def training(images: int, options: Options) -> float:
    """Return the MB in use at the end of a training of 30 steps on `images` generated images."""
    with tempfile.TemporaryDirectory() as folder:
        count = 200 if options.quick else images
        _, printed = run([PYTHON, "-c", STEPS, str(count)], Path(folder))
        return float(json.loads(printed.splitlines()[-1]))


def sweeper(trials: int, options: Options) -> float:
    """Return the peak memory in MB of the sweeper for a grid of trials that train nothing."""
    count = 20 if options.quick else trials
    command = [PYTHON, "-m", "tests.sweeper.toy_app", "-m", f"seed=range(0,{count})"]
    command += ["sweep.name=s", "hydra/launcher=nothing"]
    with tempfile.TemporaryDirectory() as folder:
        return run_measured(command, Path(folder))[1]


def rows() -> list[Row]:
    """Return the rows about memory."""
    return [
        Row(
            "memory-images",
            "Memory",
            "a training, by its number of images",
            "MB",
            {f"{n:,} images": partial(training, n) for n in (1_000, 8_000)},
            base="1,000 images",
            goals=[Goal("8,000 images", 0.95, "1,000 images")],
            rounds=1,
        ),
        Row(
            "memory-trials",
            "Memory",
            "a sweeper at its peak, by its number of trials",
            "MB",
            {f"{n:,} trials": partial(sweeper, n) for n in (10, 1_000)},
            base="10 trials",
            rounds=1,
        ),
    ]
