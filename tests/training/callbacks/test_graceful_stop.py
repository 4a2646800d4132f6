"""The first signal stops a run after a batch; ranks exchange signals rarely."""

import signal
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from alexlab.runs.folder import Stopped
from alexlab.runs.stop_signals import StopSignals
from alexlab.training.callbacks.graceful_stop import STEPS, GracefulStop
from alexlab.training.callbacks.multi_crop_test import MultiCropTest
from tests.tiny import BATCHES, train


def steps_until_the_stop(world_size, accumulate=1, received=signal.SIGTERM, due=False):
    """The optimiser step in which the run stops, and how often the ranks exchange signals."""
    exchanges, saved = [], []

    def reduce_boolean_decision(requested, all):
        exchanges.append(requested)
        return requested

    signals = StopSignals()
    signals.received = received
    stop = GracefulStop(SimpleNamespace(save=saved.append, is_due=lambda: due), signals)
    strategy = SimpleNamespace(reduce_boolean_decision=reduce_boolean_decision)
    trainer = SimpleNamespace(
        world_size=world_size, strategy=strategy, accumulate_grad_batches=accumulate
    )
    try:
        for batch in range(3 * STEPS * accumulate):
            trainer.global_step, trainer.is_last_batch = (batch + 1) // accumulate, False
            stop.on_train_batch_end(trainer, None, None, None, batch)
    except Stopped:
        assert saved == [trainer]
        return trainer.global_step, len(exchanges)
    return len(saved), len(exchanges)


def test_one_process_stops_after_the_batch_and_several_after_some_steps():
    assert steps_until_the_stop(1) == (1, 0)
    assert steps_until_the_stop(1, accumulate=3) == (1, 0)
    assert steps_until_the_stop(2) == (STEPS, 2)


def test_ranks_exchange_once_in_some_steps():
    """Nothing is saved, as long as nothing is due."""
    assert steps_until_the_stop(2, received=None) == (0, 3)
    assert steps_until_the_stop(2, accumulate=3, received=None) == (0, 3)


def test_a_save_that_is_due_stops_nothing():
    assert steps_until_the_stop(1, received=None, due=True) == (3 * STEPS, 0)
    assert steps_until_the_stop(1, accumulate=3, received=None, due=True) == (3 * STEPS, 0)
    assert steps_until_the_stop(2, received=None, due=True) == (3, 6)


@pytest.mark.parametrize("received", [None, signal.SIGTERM])
def test_a_signal_in_a_validation_stops_at_the_end_of_the_epoch(received):
    signals, saved = StopSignals(), []
    signals.received = received
    stop = GracefulStop(SimpleNamespace(save=saved.append), signals)
    trainer = SimpleNamespace(world_size=1)
    with pytest.raises(Stopped) if received else nullcontext():
        stop.on_train_epoch_end(trainer, None)
    assert saved == [trainer] * bool(received)


def test_lightnings_handler_of_sigterm_does_not_stand_in_training_or_test(
    config, tmp_path, monkeypatch
):
    """With it, a rank leaves the test in its middle, and the others wait for it."""
    found = []

    def note(self, *_):
        found.append(signal.getsignal(signal.SIGTERM))

    monkeypatch.setattr(MultiCropTest, "on_test_epoch_end", note)
    cfg = config("trainer.max_epochs=1")
    training = train(cfg, tmp_path / "run", at_batch=lambda _: note(None))
    assert len(found) == BATCHES + 1
    assert all(getattr(handler, "__self__", None) is training.signals for handler in found)
