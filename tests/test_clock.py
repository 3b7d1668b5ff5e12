import subprocess
import sys
from datetime import UTC

from bench.clock import SystemClock, utc_now


def test_the_clock_is_the_one_that_other_processes_read_too():
    read = "import time; print(time.clock_gettime(time.CLOCK_MONOTONIC))"
    before_s = SystemClock().monotonic_s()
    seen_s = float(subprocess.run([sys.executable, "-c", read], capture_output=True, check=True, text=True).stdout)
    assert before_s < seen_s < SystemClock().monotonic_s()


def test_sleeping_lets_time_pass():
    clock = SystemClock()
    before_s = clock.monotonic_s()
    clock.sleep(0.02)
    assert clock.monotonic_s() - before_s >= 0.02


def test_labels_carry_their_time_zone():
    assert utc_now().tzinfo is UTC
