import os
import threading
from dataclasses import replace

import pytest

from bench.clock import SystemClock
from bench.errors import DeviceError, SetupError
from bench.gpu.inventory import cpu_device, find_gpu, nvidia_present
from bench.telemetry.nothing import NoSampler
from bench.telemetry.nvidia import NvidiaSampler
from bench.telemetry.parse import FIELDS_BY_COLUMN

WITH_GPU = nvidia_present(os.environ)
HELP = """case "$*" in --help*) for f in power.draw pstate; do echo "\\"$f\\""; done; exit;; esac
echo "$$" > "$(dirname "$0")/pid"; echo "$*" > "$(dirname "$0")/asked"
"""
STEADY = HELP + "echo 'power.draw [W], pstate'; n=0; while :; do n=$((n+1)); echo \"$n.50, P0\"; sleep 0.02; done"


def sampler(tool, body) -> NvidiaSampler:
    device = replace(cpu_device(), kind="gpu", uuid="GPU-1", environment=tool("nvidia-smi", body))
    return NvidiaSampler(device, SystemClock(), 0.02)


def wait_until(condition):
    """Wait for an event, not for time: the deadline is only there so that a broken sampler fails."""
    tick = threading.Event()
    for _ in range(1000):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("nothing within 10 s")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_watch_sees_the_device_and_its_own_cost(tool, tmp_path):
    with sampler(tool, STEADY).watch() as watch:
        wait_until(lambda: len(watch.result().samples) >= 5)
    telemetry = watch.result()
    assert telemetry.samples["power_w"].head(5).tolist() == [1.5, 2.5, 3.5, 4.5, 5.5]
    assert telemetry.samples["time_s"].is_monotonic_increasing
    assert telemetry.sources == {"power_w": "power.draw", "pstate": "pstate"}
    assert 0 < telemetry.sampler_cpu_s < 5
    assert not any("ended" in remark for remark in telemetry.remarks)


def test_the_hosts_idle_time_grows_no_faster_than_time(tool):
    with sampler(tool, STEADY).watch() as watch:
        wait_until(lambda: len(watch.result().host_idle) >= 3)
    idle = watch.result().host_idle
    passed_s, idle_s = (idle[name].iloc[-1] - idle[name].iloc[0] for name in ("time_s", "idle_s"))
    assert 0 <= idle_s <= passed_s + 0.05  # the kernel counts in ticks, of every core apart


def test_only_fields_that_the_driver_knows_are_asked_for(tool, tmp_path):
    with sampler(tool, STEADY).watch() as watch:
        wait_until(lambda: len(watch.result().samples) >= 1)
    asked = (tmp_path / "bin" / "asked").read_text()
    assert asked.split() == ["-i", "GPU-1", "--query-gpu=power.draw,pstate", "--format=csv,nounits", "-lms", "20"]


def test_the_process_ends_with_the_watch_even_after_an_error(tool, tmp_path):
    with pytest.raises(KeyError), sampler(tool, STEADY).watch() as watch:
        wait_until(lambda: len(watch.result().samples) >= 1)
        pid = int((tmp_path / "bin" / "pid").read_text())
        assert is_alive(pid)
        raise KeyError
    assert not is_alive(pid)


def test_one_sampler_gives_one_watch_after_another(tool):
    several = sampler(tool, STEADY)
    for _ in range(2):
        with several.watch() as watch:
            wait_until(lambda: len(watch.result().samples) >= 1)
        assert watch.result().samples["power_w"][0] == 1.5


def test_a_stream_that_dies_is_a_remark_and_keeps_its_samples(tool):
    dying = HELP + "echo 'power.draw [W], pstate'; echo '80.5, P0'; echo 'GPU is lost' >&2; exit 15"
    with sampler(tool, dying).watch() as watch:
        wait_until(lambda: watch.ended)
    telemetry = watch.result()
    assert telemetry.samples["power_w"].tolist() == [80.5]
    assert "ended by itself with exit code 15" in telemetry.remarks[0]
    assert telemetry.remarks[1] == "GPU is lost"


@pytest.mark.skipif(WITH_GPU, reason="this host has an NVIDIA device")
def test_no_energy_counter_has_a_reason(tool):
    with sampler(tool, STEADY).watch() as watch:
        pass
    telemetry = watch.result()
    assert telemetry.energy is None
    assert telemetry.reasons["energy"].startswith("energy counter: ")


def test_a_driver_that_refuses_cannot_be_watched(tool):
    with pytest.raises(SetupError, match="driver not loaded"), sampler(tool, "exit 9").watch():
        pass
    with pytest.raises(DeviceError, match="names none of the fields"), sampler(tool, "exit 0").watch():
        pass


def test_nothing_has_every_column_and_one_reason():
    with NoSampler("the processor has no telemetry").watch() as watch:
        pass
    telemetry = watch.result()
    assert list(telemetry.samples.columns) == ["time_s", *FIELDS_BY_COLUMN]
    assert len(telemetry.samples) == 0
    assert telemetry.energy is None
    assert telemetry.reasons == dict.fromkeys([*FIELDS_BY_COLUMN, "energy"], "the processor has no telemetry")


@pytest.mark.gpu
@pytest.mark.skipif(not WITH_GPU, reason="no NVIDIA device")
def test_a_real_gpu_is_watched_at_the_period_that_was_asked_for():
    clock = SystemClock()
    with NvidiaSampler(find_gpu(None, os.environ), clock, 0.2).watch() as watch:
        clock.sleep(5)
    telemetry = watch.result()
    assert len(telemetry.samples) >= 20
    assert 0.15 < telemetry.achieved_period_s < 0.3
    assert telemetry.samples["power_w"].between(1, 2000).all()
    assert telemetry.energy["energy_j"].is_monotonic_increasing
    assert telemetry.remarks == ()
