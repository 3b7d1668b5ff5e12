import os
import signal
import threading

import pytest

from bench.interrupts import uninterrupted


@pytest.fixture(autouse=True)
def handlers():
    """SIGTERM raises, as the command line arranges it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


def interrupted_twice(done):
    with uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("first")
        with uninterrupted():
            done.append("inner")
        done.append("last")


def test_a_signal_waits_for_the_end_of_the_block_and_is_not_lost():
    done = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_twice(done)
    assert done == ["first", "inner", "last"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_the_block_passes_where_no_signal_came():
    with pytest.raises(ZeroDivisionError), uninterrupted():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_threads_other_than_the_main_one_have_no_handlers_to_change():
    done = []

    def work():
        with uninterrupted():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
