"""A server as a process of its own: the CPU time that it has used."""

import time
from pathlib import Path

import pytest

from workloads.inference.serving.process import ServerError, ServerProcess


def test_cpu_time_of_a_server_grows_while_it_works(tmp_path: Path) -> None:
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
