"""Train in this process in half a second, with dropout, crops, flips and colour changes."""

import os
import signal
import socket
import traceback

import torch

from alexlab.performance.out_of_memory import friendly_oom_errors
from alexlab.runs.config import compose_config
from alexlab.runs.folder import RunFolder, read_history
from alexlab.training.run import TrainingRun

EPOCHS, BATCHES = 2, 4


def tiny(image_folder, place, *overrides):
    """Return the config; the cache of decoded images is in `place`."""
    small = [
        "data=folder",
        f"data.root={image_folder}",
        "data.resolution=32",
        "data.load_size=36",
        "data.batch_size=3",
        "augment=alexnet",
        "model=alexnet",
        "model.head=[16,16]",
        "model.width=0.1",
        f"trainer.max_epochs={EPOCHS}",
        "optim.lr=0.05",
        "sched=cosine",
        f"cache_dir={place}/.cache",
    ]
    return compose_config([*small, *overrides])


def train(cfg, folder, *, stop_after=None, trial=False, at_batch=None):
    """Train; with `stop_after`, send a SIGTERM in that batch (counted from 1 over all epochs).

    `at_batch(n)` is called at the start of batch n.
    """
    with (
        RunFolder(folder, keep=True) as run,
        friendly_oom_errors(
            cfg.data.batch_size, cfg.data.resolution, auto_batch=cfg.trainer.auto_batch
        ),
    ):
        training = TrainingRun(cfg, run.path, run.record, trial=trial)
        run.obsolete = training.checkpoints.obsolete
        batches = 0

        def count(*args):
            nonlocal batches
            batches += 1
            if batches == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)
            if at_batch is not None:
                at_batch(batches)

        training.learner.on_train_batch_start = count
        training.run()
    return training


def weights(training):
    return {k: v.clone() for k, v in training.learner.net.state_dict().items()}


def rows(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_history(folder)]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def in_child(function):
    """Call `function` in a forked process; return 0, 1 for an exception, or minus a signal."""
    return waited(forked(function))


def forked(function):
    """Start a forked process that calls `function`."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function()
            code = 0
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def waited(child):
    """Return the exit code of a forked process."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def free_port():
    """Return a free port for DDP ranks on this machine, as text."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def without_notices(text):
    """Return the text of standard error without the lines about decoding images."""
    lines = text.strip().splitlines()
    return "\n".join(line for line in lines if not line.startswith(("decoding ", "decoded in ")))
