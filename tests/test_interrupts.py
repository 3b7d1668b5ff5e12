import os
import signal
import threading

import pytest

from bench.interrupts import Deadline, uninterrupted


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


def test_a_deadline_ends_the_block_and_says_that_it_was_the_deadline():
    deadline = Deadline(0.01)
    with pytest.raises(KeyboardInterrupt), deadline:
        threading.Event().wait(60)
    assert deadline.passed


def test_a_deadline_waits_for_what_must_not_be_cut_off():
    done = []
    deadline = Deadline(0)  # in the past
    with pytest.raises(KeyboardInterrupt), uninterrupted(), deadline:
        while not deadline.passed:
            signal.sigtimedwait([], 0.01)
        done.append("whole")
    assert done == ["whole"]


def test_a_block_that_ends_in_time_is_left_alone():
    deadline = Deadline(60)
    with deadline:
        pass
    assert not deadline.passed
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
