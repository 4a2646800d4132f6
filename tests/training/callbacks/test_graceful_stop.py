"""The first signal stops a run after a batch, the second at once; ranks exchange them rarely."""

import os
import signal
from types import SimpleNamespace

import pytest

from alexlab.runs.folder import Stopped
from alexlab.training.callbacks.graceful_stop import SIGNALS, STEPS, GracefulStop
from tests.tiny import in_child


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_exits_at_once(number):
    def signalled(times):
        stop = GracefulStop(None)
        stop.on_fit_start(None, None)
        for _ in range(times):
            os.kill(os.getpid(), number)

    assert in_child(lambda: signalled(1)) == 0
    assert in_child(lambda: signalled(2)) == 128 + number


def test_handlers_are_restored():
    before = [signal.getsignal(number) for number in SIGNALS]
    stop = GracefulStop(None)
    stop.on_fit_start(None, None)
    stop.on_train_start(None, None)
    assert [signal.getsignal(number) for number in SIGNALS] != before
    stop.teardown(None, None, "fit")
    assert [signal.getsignal(number) for number in SIGNALS] == before


def steps_until_the_stop(world_size, accumulate=1, received=signal.SIGTERM):
    """The optimiser step in which the run stops, and how often the ranks exchange signals."""
    exchanges, saved = [], []

    def reduce_boolean_decision(requested, all):
        exchanges.append(requested)
        return requested

    stop = GracefulStop(SimpleNamespace(save=saved.append))
    stop.received = received
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
    return None, len(exchanges)


def test_one_process_stops_after_the_batch_and_several_after_some_steps():
    assert steps_until_the_stop(1) == (1, 0)
    assert steps_until_the_stop(1, accumulate=3) == (1, 0)
    assert steps_until_the_stop(2) == (STEPS, 1)
    assert steps_until_the_stop(2, received=None) == (None, 3)
    assert steps_until_the_stop(2, accumulate=3, received=None) == (None, 3)
