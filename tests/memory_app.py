"""Train twice, each in its own process, with too little memory for a whole batch.

`python -m tests.memory_app FOLDER` writes FOLDER/plain, and FOLDER/auto with trainer.auto_batch.
"""

import os
import resource
import sys
from functools import partial
from pathlib import Path

from alexlab.runs.config import compose_config
from tests.tiny import in_child, train

ROOM = 500 << 20  # bytes; a whole batch needs a gigabyte, a part of it fits


def train_in_little_memory(cfg, folder):
    """Train with at most ROOM more bytes of memory than the process uses now."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    train(cfg, folder)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    big = ["data.num_images=400", "data.batch_size=256", "trainer.max_epochs=1"]
    big += [f"data.root={folder}/shapes", f"cache_dir={folder}/.cache"]
    for name, auto in {"plain": False, "auto": True}.items():
        cfg = compose_config([*big, f"trainer.auto_batch={auto}"])
        in_child(partial(train_in_little_memory, cfg, folder / name))
