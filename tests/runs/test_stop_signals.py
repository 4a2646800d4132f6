"""Signals that ask a run to stop: the first one politely, the second at once."""

import os
import signal
import threading
from contextlib import suppress

import pytest

from alexlab.runs.folder import Stopped
from alexlab.runs.stop_signals import SIGNALS, StopSignals
from tests.tiny import in_child


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_exits_at_once(number):
    def signalled(times):
        with StopSignals() as signals:
            signals.set_at_once(False)
            for _ in range(times):
                os.kill(os.getpid(), number)

    assert in_child(lambda: signalled(1)) == 0
    assert in_child(lambda: signalled(2)) == 128 + number


@pytest.mark.parametrize("number", SIGNALS)
def test_where_nothing_needs_to_be_saved_a_signal_stops_at_once(number):
    with pytest.raises(Stopped) as stop, StopSignals():
        os.kill(os.getpid(), number)
    assert stop.value.code == 128 + number


def test_a_signal_that_waits_stops_as_soon_as_all_is_saved():
    with StopSignals() as signals:
        signals.set_at_once(False)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        with pytest.raises(Stopped):
            signals.set_at_once(True)


def test_handlers_are_restored_by_the_outermost():
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopSignals() as signals:
        inside = [signal.getsignal(number) for number in SIGNALS]
        with signals:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as a library might
            signals.install()
        assert [signal.getsignal(number) for number in SIGNALS] == inside != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
    signals.install()
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_another_thread_installs_nothing():
    """Python would raise an error: a notebook may train in a thread."""
    before, errors = signal.getsignal(signal.SIGTERM), []

    def enter():
        try:
            with StopSignals() as signals:
                signals.install()
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert errors == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_that_a_library_turns_into_an_error_stays_one():
    """Seen: Ctrl-C while numpy was imported, then an AttributeError of a module half imported."""

    def import_that_is_stopped(signals):
        with suppress(Stopped):
            signals.stop(signal.SIGINT)
        raise AttributeError("module has no attribute")

    with pytest.raises(Stopped) as stopped, StopSignals() as signals:
        import_that_is_stopped(signals)
    assert stopped.value.code == 130
    with pytest.raises(ValueError, match="of its own"), StopSignals():
        raise ValueError("an error of its own")
