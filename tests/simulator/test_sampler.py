"""The simulated sampler: the same lines as a real one to the same parser, in virtual time."""

import numpy as np
import pytest

from bench.simulator.driver.state import updated
from bench.simulator.sampler import SimulatedSampler


@pytest.fixture
def watched(bench):
    """Run jobs under watch; return what became of them and what was seen."""

    def watch(tenants):
        with SimulatedSampler(bench.board).watch() as watch:
            result = bench.run(tenants)
        return result, watch.result()

    return watch


def test_samples_come_once_a_second_from_beginning_to_end(watched, bench):
    result, telemetry = watched(bench.tenants(1))
    samples = telemetry.samples
    assert telemetry.remarks == ()
    assert (telemetry.requested_period_s, telemetry.achieved_period_s) == (1.0, 1.0)
    assert samples["time_s"].iloc[0] == 0
    assert samples["time_s"].iloc[-1] >= result.window.stop_s - 1
    during = samples[samples["time_s"].between(result.window.start_s, result.window.stop_s)]
    before = samples[samples["time_s"] < result.window.start_s]
    assert (set(during["utilization_gpu_pct"]), set(before["utilization_gpu_pct"])) == ({100}, {0})
    assert during["memory_used_mib"].min() > before["memory_used_mib"].min()


def test_power_follows_the_sms_at_work_and_energy_is_its_integral(watched, bench):
    result, telemetry = watched(bench.tenants(1))
    samples, energy = telemetry.samples, telemetry.energy
    window = result.window
    during = samples[samples["time_s"].between(window.start_s, window.stop_s)]
    expected_w = 67.03 + (400 - 67.03) * 0.8  # the scaling part is 80 % of a step
    assert during["power_w"].mean() == pytest.approx(expected_w, abs=1)
    assert samples[samples["time_s"] < window.start_s]["power_w"].mean() == pytest.approx(67.03, abs=2)
    start_j, stop_j = np.interp([window.start_s, window.stop_s], energy["time_s"], energy["energy_j"])
    assert stop_j - start_j == pytest.approx(expected_w * 210, rel=0.001)
    assert energy["energy_j"].iloc[-1] == pytest.approx(samples["power_w"].sum(), rel=0.01)
    assert energy["energy_j"].is_monotonic_increasing


def test_an_idle_host_leaves_the_device_idle_in_part(watched, bench):
    """A job that waits for its host three quarters of the time keeps a quarter of the device's time."""
    result, telemetry = watched(bench.tenants(1, host_ms=400))
    during = telemetry.samples[telemetry.samples["time_s"].between(result.window.start_s, result.window.stop_s)]
    assert set(during["utilization_gpu_pct"]) == {25}


def test_utilisation_under_mig_is_missing_with_a_reason(watched, bench):
    (instance,) = bench.cut(0)
    _, telemetry = watched([bench.tenant(0, device=instance)])
    assert telemetry.samples["utilization_gpu_pct"].isna().all()
    assert telemetry.reasons["utilization_gpu_pct"].startswith("[N/A]: ")
    assert telemetry.samples["power_w"].notna().all()


def test_a_clock_lock_shows_while_jobs_run(watched, bench):
    with updated(bench.board.state_file) as state:
        state.clock_lock = "1200,1200"
    result, telemetry = watched(bench.tenants(1))
    during = telemetry.samples[telemetry.samples["time_s"].between(result.window.start_s, result.window.stop_s)]
    assert set(during["sm_clock_mhz"]) == {1200}


def test_each_watch_begins_a_new_time(watched, bench):
    _, first = watched(bench.tenants(1))
    _, second = watched(bench.tenants(1))
    assert first.samples["time_s"].tolist() == second.samples["time_s"].tolist()
    assert first.energy.equals(second.energy)
