"""The comparison of servers: its interval, and the CPU time that it reads."""

import math
import time

import pytest
from scripts import load

from workloads.inference.serving.process import ServerError, ServerProcess

reference = load("server_reference")


def test_interval_is_that_of_the_t_distribution_on_the_logarithm() -> None:
    low, ratio, high = reference.interval([math.log(1), math.log(2), math.log(4)])
    half = 4.302653 * math.log(2) / math.sqrt(3)  # t for 2 degrees of freedom, from a table
    assert ratio == pytest.approx(2)
    assert (low, high) == pytest.approx((2 * math.exp(-half), 2 * math.exp(half)))


def test_cpu_time_of_a_server_grows_while_it_works(tmp_path) -> None:
    deadline_s = time.monotonic() + 60
    with (
        pytest.raises(ServerError),
        ServerProcess("timeit", ["-r", "1000000000", "pass"], tmp_path, "cpu") as busy,
    ):
        before_s = busy.cpu_s()
        while busy.cpu_s() - before_s < 0.05 and time.monotonic() < deadline_s:
            busy.check()
        spent_s = busy.cpu_s() - before_s
    assert 0.05 <= spent_s < 60
