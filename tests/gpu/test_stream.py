import threading

from bench.clock import SystemClock
from bench.gpu.smi import NvidiaSmi


def started(tool, body):
    return NvidiaSmi(tool("nvidia-smi", body)).stream("GPU-1", ["pstate"], 50, SystemClock())


def wait_until(condition):
    """Wait for an event, not for time: the deadline is only there so that a broken stream fails."""
    tick = threading.Event()
    for _ in range(1000):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("nothing within 10 s")


def wait_for_lines(stream, count):
    wait_until(lambda: len(stream.received) >= count)


def test_lines_are_stamped_in_the_order_of_their_receipt(tool):
    before_s = SystemClock().monotonic_s()
    stream = started(tool, "echo pstate; while echo P0; do sleep 0.02; done")
    wait_for_lines(stream, 4)
    end = stream.stop()
    stamps_s = [stamp_s for stamp_s, _ in stream.received]
    assert [text for _, text in stream.received[:3]] == ["pstate", "P0", "P0"]
    assert stamps_s == sorted(stamps_s)
    assert before_s < stamps_s[0] < stamps_s[-1] < SystemClock().monotonic_s()
    assert not end.early
    assert 0 < end.cpu_s < 5


def test_the_command_asks_for_one_gpu_and_a_period(tool):
    stream = started(tool, 'echo "$*"; exec sleep 60')
    wait_for_lines(stream, 1)
    stream.stop()
    assert stream.received[0][1] == "-i GPU-1 --query-gpu=pstate --format=csv,nounits -lms 50"


def test_a_process_that_ignores_sigterm_is_killed(tool):
    stream = started(tool, "trap '' TERM; echo pstate; exec sleep 60")
    wait_for_lines(stream, 1)
    assert stream.stop().status == -9


def test_a_stream_that_dies_says_how(tool):
    stream = started(tool, "echo pstate; echo 'GPU is lost' >&2; exit 15")
    wait_until(lambda: stream.ended)
    end = stream.stop()
    assert (end.early, end.status, end.errors) == (True, 15, "GPU is lost")
