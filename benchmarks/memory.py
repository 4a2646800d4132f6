"""Anonymous memory of a training does not grow with the data set: `python -m benchmarks.memory`.

Trains 100 steps of the same net at the same size on the Pokémon images and on CIFAR-10 (all 60,000
images), each in a process of its own, and prints RssAnon, which leaves memory-mapped pages out.
Needs DATA_DIR, and Linux.
"""

import os
import subprocess
import sys

STEPS = """
import re, sys
from pathlib import Path
from tempfile import TemporaryDirectory
from hydra import compose, initialize_config_dir
import alexlab.commands.train
from alexlab.runs.config import CONF
from alexlab.training.run import Training

with initialize_config_dir(str(CONF), version_base="1.3"):
    cfg = compose("train", [f"data={sys.argv[1]}", "data.resolution=64", "model=alexnet",
        "trainer.max_epochs=1", "+trainer.limit_train_batches=100"])
with TemporaryDirectory() as folder:
    training = Training(cfg, Path(folder), {}, trial=True)
    training.run()
status = Path("/proc/self/status").read_text()
images = sum(sum(classes.values()) for classes in training.data.counts.values())
print("RESULT", images, *re.findall(r"(?:RssAnon|RssFile):\\s+(\\d+)", status))
"""


def main() -> None:
    """Print the table."""
    if "DATA_DIR" not in os.environ:
        sys.exit("set DATA_DIR to the folder that holds pokemon/ and cifar10/")
    print(f"{'data':10}{'images':>8}{'RssAnon, MB':>14}{'mapped files, MB':>18}")
    for name in ("pokemon", "cifar10"):
        command = [sys.executable, "-c", STEPS, name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        line = next(li for li in done.stdout.splitlines() if li.startswith("RESULT"))
        images, anonymous, mapped = map(int, line.split()[1:])
        print(f"{name:10}{images:8d}{anonymous / 1024:14.0f}{mapped / 1024:18.0f}")


if __name__ == "__main__":
    main()
