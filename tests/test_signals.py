"""Signals as wishes; every signal is sent to this very process while the handler stands."""

import os
import signal
import threading

import pytest

from medseg.signals import interrupt_on_sigterm, stop_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_is_noted_by_name(number: signal.Signals) -> None:
    with stop_signals() as asked:
        assert asked == []
        os.kill(os.getpid(), number)
        assert asked == [number.name]


def test_second_signal_interrupts_at_once() -> None:
    with stop_signals() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert asked == ["SIGTERM"]


def test_former_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_signals():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_sigterm_interrupts_where_nothing_can_be_finished_first() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), interrupt_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_nothing_is_caught() -> None:
    seen: list[list[str]] = []

    def work() -> None:
        with interrupt_on_sigterm(), stop_signals() as asked:
            seen.append(asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[]]
