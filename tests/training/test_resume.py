"""What a run survives, to the bit: SIGKILL at any step and inside any save, EMA, two ranks."""

import os
import random
import signal
import warnings
from functools import partial
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alexlab.runs.checkpoint import load
from alexlab.runs.folder import BEST, LAST, Stopped, is_locked, read_metrics
from alexlab.training.callbacks import graceful_stop
from alexlab.training.run import TrainingRun
from tests.tiny import BATCHES, forked, free_port, in_child, rows, same, train, waited, weights

EPOCHS = 3
STEPS = EPOCHS * BATCHES


@pytest.fixture
def config(config):
    return partial(config, "save_every_s=0", f"trainer.max_epochs={EPOCHS}")


def assert_as_unbroken(folder, unbroken):
    """Weights, history, metrics, what TensorBoard shows; nothing is left over."""
    assert same(load(folder / BEST)["net"], load(unbroken / BEST)["net"])
    last, expected = (load(run / LAST) for run in (folder, unbroken))
    assert same(last["state_dict"], expected["state_dict"])
    assert rows(folder) == rows(unbroken)
    keys = "status", "metrics", "objective", "best_epoch", "epochs", "best_sha256"
    metrics, wanted = (read_metrics(run) for run in (folder, unbroken))
    assert {key: metrics[key] for key in keys} == {key: wanted[key] for key in keys}
    assert shown(folder) == shown(unbroken)
    assert not list(folder.rglob("*.tmp"))
    assert not list(folder.rglob("*.previous.ckpt"))


def shown(folder):
    """Every scalar that TensorBoard shows of a run, but for those that tell the time."""
    warnings.filterwarnings("ignore", module="tensorboard")
    events = EventAccumulator(str(folder), purge_orphaned_data=True).Reload()
    names = [name for name in events.Tags()["scalars"] if name != "seconds"]
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in names}


def later(folder):
    """As if what is there had been written a minute ago: TensorBoard sorts its files by seconds."""
    for path in sorted(folder.glob("events.out.*")):
        stem, seconds = path.name.split(".")[:4], int(path.name.split(".")[3])
        rest = path.name.split(".")[4:]
        path.rename(folder / ".".join([*stem[:3], str(seconds - 60), *rest]))


def renames(monkeypatch, act):
    """`act(n, path)` is called as the nth file of the run is about to get its name."""
    count, original = 0, Path.replace

    def counted(self, target):
        nonlocal count
        count += 1
        act(count, Path(target))
        return original(self, target)

    monkeypatch.setattr(Path, "replace", counted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_sigkill_at_a_seeded_step_costs_nothing(config, once, tmp_path, seed, hit):
    unbroken = once("plain", config())
    step = random.Random(seed).randint(1, STEPS)

    def die(batch):
        if batch == step:
            os.kill(os.getpid(), signal.SIGKILL)

    folder = tmp_path / "run"
    assert in_child(lambda: train(config(), folder, at_batch=die)) == -signal.SIGKILL
    assert read_metrics(folder) is None
    assert not is_locked(folder)
    later(folder)
    train(config(), folder)
    assert_as_unbroken(folder, unbroken)
    hit(f"SIGKILL in step {step} of {STEPS}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_sigkill_as_a_file_gets_its_name_costs_nothing(config, once, tmp_path, seed, hit):
    unbroken, folder = once("plain", config()), tmp_path / "run"
    renamed = tmp_path / "renamed"
    at = seed + 1 if seed < 8 else random.Random(seed).randint(9, 15)

    def killed():
        def die(n, target):
            if n == at:
                renamed.write_text(target.name)
                os.kill(os.getpid(), signal.SIGKILL)

        renames(pytest.MonkeyPatch(), die)
        train(config(), folder)

    assert in_child(killed) == -signal.SIGKILL
    later(folder)
    train(config(), folder)
    assert_as_unbroken(folder, unbroken)
    hit(f"SIGKILL before the rename to {renamed.read_text()}")


@pytest.mark.parametrize("batch", [2, 4, 7, 12])
def test_killed_twice_costs_nothing(config, once, tmp_path, batch, hit):
    """Stopped politely, then killed in the first step after the resume, then resumed."""
    unbroken, folder = once("plain", config()), tmp_path / "run"
    with pytest.raises(Stopped):
        train(config(), folder, stop_after=batch)
    later(folder)
    if batch < STEPS:
        die = lambda n: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
        assert in_child(lambda: train(config(), folder, at_batch=die)) == -signal.SIGKILL
    later(folder)
    later(folder)
    train(config(), folder)
    assert_as_unbroken(folder, unbroken)
    hit(f"SIGTERM in step {batch}, then SIGKILL in the step after the resume")


# what is on, and the batches after which a run with it is stopped
SETTINGS = {
    "ema": (["ema_decay=0.8"], [2, 4, 5, 8, 11]),
    "patience": (
        ["optim.lr=1e-12", "patience=2", "trainer.max_epochs=9", "sched=constant"],
        [2, 4, 6, 9, 11],
    ),
    # between two optimiser steps: the gradients so far are lost, unless the stop waits
    "accumulated gradients": (["trainer.accumulate_grad_batches=2"], [3, 6]),
    "plateau": (
        ["sched=plateau", "sched.patience=0", "optim.lr=1.0", "trainer.max_epochs=4"],
        [4, 6, 8],
    ),
    "warm-up": (
        ["sched=warmup_cosine", "sched.warmup_epochs=2", "trainer.max_epochs=4"],
        [4, 6, 8],
    ),
    "steps": (
        ["sched=step", "sched.step_size=1", "optim=adam", "optim.lr=0.01", "trainer.max_epochs=4"],
        [4, 6, 8],
    ),
}


@pytest.mark.parametrize(
    ("name", "batch"), [(name, batch) for name, (_, all_) in SETTINGS.items() for batch in all_]
)
def test_a_stop_costs_nothing_with(config, once, tmp_path, name, batch, hit):
    cfg = config(*SETTINGS[name][0])
    unbroken, folder = once(name, cfg), tmp_path / "run"
    with pytest.raises(Stopped):
        train(cfg, folder, stop_after=batch)
    later(folder)
    train(cfg, folder)
    assert_as_unbroken(folder, unbroken)
    hit(f"SIGTERM in step {batch}, with {name}")


def test_the_settings_did_something(config, once):
    ran = {name: rows(once(name, config(*settings))) for name, (settings, _) in SETTINGS.items()}
    assert len(ran["patience"]) == 3  # the first epoch, and two that are not better
    for name in ("plateau", "warm-up", "steps"):
        assert len({row["lr"] for row in ran[name]}) > 1


def on_two_ranks(cfg, folder, **options):
    """Train on two forked processes that Lightning joins over gloo; their exit codes."""
    port = free_port()

    def rank(number):
        os.environ.update(LOCAL_RANK=str(number), NODE_RANK="0", WORLD_SIZE="2")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        if number == 0:
            train(cfg, folder, **options)
        else:
            TrainingRun(cfg, folder, {}, trial=False).run()

    children = [forked(partial(rank, number)) for number in range(2)]
    return [waited(child) for child in children]


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "steps"), [(2, 1), (5, 1), (6, 1), (4, 2), (2, 16)])
def test_two_ranks_resume_from_any_batch(config, runs, tmp_path, monkeypatch, batch, steps, hit):
    """SIGTERM reaches the first rank only; 3 batches per epoch on each.

    The ranks tell each other every `steps` steps, and at the end of an epoch.
    """
    monkeypatch.setattr(graceful_stop, "STEPS", steps)
    ddp = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    cfg = config(*ddp, "data.batch_size=2")
    if not (runs / "two").exists():
        assert on_two_ranks(cfg, runs / "two") == [0, 0]
    folder = tmp_path / "run"
    assert on_two_ranks(cfg, folder, stop_after=batch) == [143, 143]
    assert read_metrics(folder)["status"] == "stopped"
    stopped_at = load(folder / LAST)["global_step"]
    assert stopped_at == {(4, 2): 4, (2, 16): 3}.get((batch, steps), batch)
    later(folder)
    assert on_two_ranks(cfg, folder) == [0, 0]
    assert_as_unbroken(folder, runs / "two")
    hit(f"SIGTERM to the first of two ranks in step {batch} of 9")


def test_weights_differ_when_they_should(config, once, tmp_path):
    """The comparison above can fail."""
    other = train(config("seed=1"), tmp_path / "other")
    assert not same(weights(other), load(once("plain", config()) / BEST)["net"])
