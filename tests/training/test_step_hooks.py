"""How often Lightning calls a callback in a training step: only those that define the hook."""

from collections import Counter

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, LambdaCallback

from alexlab.training.step_hooks import NOTHING, NoProfiler, skip_empty_hooks
from tests.tiny import BATCHES, EPOCHS, train

# who has something to do in a step of a plain run, read from the classes of training/callbacks
IN_A_STEP = {
    "NaNGuard.on_train_batch_start",
    "TensorBoard.on_train_batch_start",
    "NaNGuard.on_before_backward",
    "StepSeeding.on_train_batch_end",
    "History.on_train_batch_end",
    "EpochProgress.on_train_batch_end",
    "GracefulStop.on_train_batch_end",
}


def test_a_step_calls_only_the_callbacks_that_define_its_hooks(config, tmp_path, monkeypatch):
    called = Counter()

    def count(self, name):
        called[name] += 1
        return NOTHING

    monkeypatch.setattr(NoProfiler, "profile", count)
    train(config("diagnostics=off"), tmp_path / "run")
    steps = EPOCHS * BATCHES
    of_callbacks = {n.removeprefix("[Callback]"): k for n, k in called.items() if "[Call" in n}
    in_each = {name for name, times in of_callbacks.items() if times == steps}
    assert in_each == IN_A_STEP
    assert max(of_callbacks.values()) == steps


class Module(L.LightningModule):
    """One weight."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def hooks_of(tmp_path):
    """hooks_of(callback): train two steps with it."""

    def fit(callback):
        trainer = L.Trainer(
            max_steps=2,
            callbacks=[callback],
            default_root_dir=tmp_path,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
            profiler=NoProfiler(),
        )
        skip_empty_hooks(trainer)
        trainer.fit(Module(), torch.utils.data.DataLoader(torch.ones(2, 1)))

    return fit


def test_a_hook_of_a_parent_class_is_called(hooks_of):
    class Parent(Callback):
        seen = 0

        def on_before_backward(self, *_):
            self.seen += 1

    child = type("Child", (Parent,), {})()
    hooks_of(child)
    assert child.seen == 2


def test_a_hook_of_one_object_is_called(hooks_of):
    seen = []
    hooks_of(LambdaCallback(on_train_batch_end=lambda *_: seen.append(1)))
    assert seen == [1, 1]
