import os
import subprocess
import sys

import pytest

from bench.errors import SetupError
from bench.gpu.inventory import cpu_device
from bench.gpu.lock import held

HOLD = """
import sys
from bench.gpu.inventory import cpu_device
from bench.gpu.lock import held
with held(cpu_device()):
    print("held", flush=True)
    sys.stdin.read()
"""


class CountingClock:
    """A clock on which waiting costs nothing; `on_sleep` is what happens meanwhile."""

    def __init__(self, on_sleep=lambda: None):
        self.now_s = 0.0
        self.on_sleep = on_sleep

    def monotonic_s(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds
        self.on_sleep()


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def other_runner():
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_lock_is_free_again_after_use():
    for _ in range(2):
        with held(cpu_device()) as lock:
            assert not os.get_inheritable(lock.fd)


def test_every_user_may_use_folder_and_file(state):
    with held(cpu_device()) as lock:
        assert (state / "cpu").stat().st_mode & 0o7777 == 0o1777
        assert lock.path.stat().st_mode & 0o777 == 0o666


def test_a_second_runner_is_told_who_holds_it_after_three_seconds(other_runner):
    clock = CountingClock()
    with (
        pytest.raises(SetupError, match=rf"held by process {other_runner.pid} `-c`; wait"),
        held(cpu_device(), clock),
    ):
        pass
    assert 3 <= clock.now_s < 4


def test_the_lock_of_a_killed_runner_is_free(other_runner):
    other_runner.kill()
    other_runner.wait()
    with held(cpu_device()):
        pass


def test_a_helper_with_the_descriptor_holds_on_after_the_runners_end():
    with held(cpu_device()) as lock:
        helper = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock.fd])

    def end_the_helper():
        helper.stdin.close()
        helper.wait()

    clock = CountingClock(end_the_helper)
    with held(cpu_device(), clock):
        assert clock.now_s > 0


def test_a_state_folder_that_cannot_be_used_is_named(state):
    state.write_text("a file, not a folder")
    with pytest.raises(SetupError, match=r"state/cpu/lock.*BENCH_STATE_DIR"), held(cpu_device()):
        pass
