"""Simulated jobs end to end: the real co-run, the launcher, the board's law and the stand-in driver's state."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from bench.errors import SetupError
from bench.launch.contract import EVENTS_FILE, Tenant
from bench.launch.corun import co_run
from bench.modes.contract import Grant
from bench.plan.catalog import Resources, SimulationProfile, Workload
from bench.plan.model import Timing
from bench.simulator import machine
from bench.simulator.board import Board, step_cost, step_noise
from bench.simulator.boards import speed, validation
from bench.simulator.clock import VirtualClock
from bench.simulator.driver import nvidia_smi
from bench.simulator.driver.models import MODELS
from bench.simulator.driver.state import Daemon, DriverState, create, updated
from bench.simulator.launcher import STARTUP_S, SimulatedLauncher
from bench.simulator.sampler import SimulatedSampler

GPU = "GPU-11111111-2222-3333-4444-555555555555"
PIPE = "/run/bench/pipe"
TIMING = Timing(name="t", blocks=1, settle_s=10, window_s=200, publishable=False)
UNDER_MPS = {"CUDA_MPS_PIPE_DIRECTORY": PIPE}

# Mean latency in seconds by number of clients; nebuly-ai/nos, demos/gpu-sharing-comparison, A100-PCIe-80GB.
NOS = {
    "mig": {1: 0.34237, 3: 0.34131, 5: 0.34533, 7: 0.34425},
    "mps": {1: 0.08796, 3: 0.16400, 5: 0.24086, 7: 0.31982},
    "time-slicing": {1: 0.08815, 3: 0.29314, 5: 0.48895, 7: 0.68488},
}
# Its job from two of these numbers, alone on 108 SMs (88.0 ms) and on 14 (342.4 ms): A = 50.1, B = 37.9 ms.
YOLOS = SimulationProfile(host_ms=0, fixed_ms=50.1, scaling_ms=37.9, gpu_memory_gb=2, step_cv=0, provenance="nos")
MIXED = SimulationProfile(host_ms=4, fixed_ms=20, scaling_ms=80, gpu_memory_gb=2, step_cv=0.05, provenance="-")


class Bench:
    """A simulated board, and jobs to put on it."""

    def __init__(self, folder, model="a100-80gb"):
        self.folder = folder
        self.state_file = folder / "state.json"
        create(self.state_file, model, GPU)
        self.board = Board(self.state_file, VirtualClock())
        self.launcher = SimulatedLauncher(self.board)

    def start_mps(self, percentage=100.0):
        with updated(self.state_file) as state:
            state.daemons.append(Daemon(state.take_pid(), PIPE, GPU, percentage))

    def cut(self, *profiles):
        nvidia_smi.main(["-mig", "1"], str(self.state_file))
        nvidia_smi.main(["mig", "-cgi", ",".join(map(str, profiles)), "-C"], str(self.state_file))
        instances = DriverState.load(self.state_file).instances
        return [compute.uuid for instance in instances for compute in instance.compute]

    def tenant(self, number, profile=MIXED, device=GPU, environment=None, seed=None, batch_size=8):
        folder = self.folder / f"job-{len(list(self.folder.glob('job-*')))}"
        folder.mkdir()
        workload = Workload(
            name="w", module="m", image="i", kind="inference", unit="images", parameters={"batch_size": 8},
            resources=Resources(cpus=1, memory_gb=1), simulation=profile,
        )  # fmt: skip
        return Tenant(f"job {number}", "w", workload, {"batch_size": batch_size}, number if seed is None else seed,
                      "cuda", Grant(device, environment or {}), folder, None, 1, "run")  # fmt: skip

    def tenants(self, n, **options):
        return [self.tenant(number, **options) for number in range(n)]

    def run(self, tenants, timing=TIMING):
        self.board.clock.restart()
        return co_run(self.launcher, tenants, timing, self.board.clock, lambda _: ())

    def mean_step_s(self, tenants):
        """Mean step time in the window, over all tenants."""
        result = self.run(tenants)
        assert result.errors == ()
        window = result.window
        steps = [outcome.events.steps for outcome in result.outcomes]
        inside = [
            each.duration_s[(each.end_s > window.settle_s) & (each.end_s <= window.stop_s)] for each in steps
        ]
        return float(np.mean(np.concatenate(inside)))


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def on_the_nos_bench(bench, mode, n):
    """Set the driver up as their demo did, and return the mean latency of n clients."""
    if mode == "mig":
        return bench.mean_step_s([bench.tenant(i, YOLOS, uuid) for i, uuid in enumerate(bench.cut(*[19] * 7)[:n])])
    if mode == "mps":
        bench.start_mps()
    return bench.mean_step_s(bench.tenants(n, profile=YOLOS, environment=UNDER_MPS if mode == "mps" else {}))


@pytest.mark.parametrize("n", [1, 3, 5, 7])
@pytest.mark.parametrize("mode", NOS)
def test_the_nos_table_comes_out_within_five_percent(bench, mode, n):
    assert on_the_nos_bench(bench, mode, n) == pytest.approx(NOS[mode][n], rel=0.05)


def test_the_numbers_above_are_those_of_the_published_table():
    shared = Path(os.environ.get("BENCH_SHARED", Path(__file__).parents[3] / "shared"))
    table = shared / "reference" / "published" / "nos_gpu_sharing_demo.csv"
    if not table.exists():
        pytest.skip(f"{table} is not here")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    for row in rows:
        assert NOS[row["mode"]][int(row["clients"])] == pytest.approx(float(row["value"]), abs=1e-5)


def test_a_job_speaks_the_real_protocol_in_virtual_time(bench):
    result = bench.run(bench.tenants(2))
    assert bench.board.clock.monotonic_s() == pytest.approx(2 * STARTUP_S + 2 * 20 * 0.1 + 210.5, abs=2)
    for outcome in result.outcomes:
        events = outcome.events
        assert (outcome.exit_status, outcome.error, events.problems) == (0, None, [])
        assert (len(events.warmup), set(events.steps.items)) == (20, {8})
        assert events.steps.end_s[-1] >= result.window.stop_s > events.steps.end_s[-2]
        assert events.done["items"] == 8 * len(events.steps)
        assert np.diff(events.steps.end_s) == pytest.approx(events.steps.duration_s[1:], abs=2e-6)
    assert bench.board.state.clients == []  # they left the board


def test_the_same_seed_says_the_same_byte_for_byte(tmp_path):
    said = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        bench = Bench(tmp_path / name)
        result = bench.run([bench.tenant(0, seed=5), bench.tenant(1, seed=6)])
        said.append([(each.tenant.folder / EVENTS_FILE).read_bytes() for each in result.outcomes])
    assert said[0] == said[1]
    assert said[0][0] != said[0][1]


def test_another_seed_differs(bench):
    first, second = bench.run([bench.tenant(0, seed=5), bench.tenant(1, seed=500)]).outcomes
    assert first.events.steps.duration_s[0] != second.events.steps.duration_s[0]


def test_noise_has_mean_one_and_the_spread_it_was_given():
    factors = [step_noise(seed, 400, 0.05) for seed in range(800)]
    assert np.mean(factors) == pytest.approx(1, abs=0.002)
    assert np.mean([np.std(each) / np.mean(each) for each in factors]) == pytest.approx(0.05, rel=0.03)
    assert np.std([np.mean(each) for each in factors]) == pytest.approx(0.01, rel=0.15)  # between trials


def test_mps_needs_a_daemon_not_a_wish(bench):
    """A job that is only told a pipe directory takes time slices, as CUDA does without a word."""
    wishing = bench.mean_step_s(bench.tenants(2, environment=UNDER_MPS))
    assert wishing == pytest.approx(0.1 * 2 * 1.1, rel=0.03)
    bench.start_mps()
    assert bench.mean_step_s(bench.tenants(2, environment=UNDER_MPS)) == pytest.approx(0.18 * 1.005, rel=0.03)
    assert bench.mean_step_s(bench.tenants(2)) == pytest.approx(0.1 * 2 * 1.1, rel=0.03)  # not asked for MPS


def test_a_percentage_cuts_the_share_and_shows_in_the_identity(bench):
    bench.start_mps()
    capped = {**UNDER_MPS, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25"}
    tenant = bench.tenant(0, environment=capped)
    identity = bench.run([tenant]).outcomes[0].events.identity
    assert (identity["sm_count"], identity["mps_active_thread_percentage"]) == (26, 25.0)
    step_s = bench.mean_step_s([bench.tenant(1, environment=capped)])
    assert step_s == pytest.approx(0.02 + 0.08 * 108 / 26, rel=0.03)


def test_a_limit_of_the_daemon_counts_without_any_wish_of_the_job(bench):
    bench.start_mps(percentage=50.0)
    step_s = bench.mean_step_s(bench.tenants(1, environment=UNDER_MPS))
    assert step_s == pytest.approx(0.02 + 0.08 * 2, rel=0.03)


def test_instances_do_not_disturb_each_other_and_jobs_in_one_do(bench):
    large, small = bench.cut(9, 14)  # 3g.40gb and 2g.20gb: 42 and 28 SMs
    apart = bench.run([bench.tenant(0, device=large), bench.tenant(1, device=small)])
    means = [np.mean(outcome.events.steps.duration_s) for outcome in apart.outcomes]
    assert means == pytest.approx([0.02 + 0.08 * 108 / 42, 0.02 + 0.08 * 108 / 28], rel=0.03)
    assert [outcome.events.identity["sm_count"] for outcome in apart.outcomes] == [42, 28]
    together = bench.mean_step_s([bench.tenant(0, device=large), bench.tenant(1, device=large)])
    assert together == pytest.approx(means[0] * 2 * 1.1, rel=0.03)


def big(memory_gb):
    return MIXED.model_copy(update={"gpu_memory_gb": memory_gb})


def refused(result):
    (error,) = result.errors
    assert result.window is None
    assert result.outcomes[-1].exit_status == 1
    return error


def test_jobs_that_do_not_fit_the_gpu_together_run_out_of_memory(bench):
    assert bench.run(bench.tenants(2, profile=big(41))).errors == ()
    error = refused(bench.run(bench.tenants(2, profile=big(43))))
    assert error.startswith("job 1: oom: CUDA out of memory: ")
    assert error.endswith("needed on a device of 81051 MiB")
    assert bench.board.state.clients == []


def test_a_job_that_does_not_fit_its_instance_runs_out_of_memory(bench):
    instance, *_ = bench.cut(*[19] * 7)
    assert bench.run([bench.tenant(0, big(9), instance)]).errors == ()
    assert refused(bench.run([bench.tenant(0, big(10), instance)])).endswith("on a device of 9728 MiB")


def test_a_memory_limit_holds_under_mps_only(bench):
    limited = {**UNDER_MPS, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=10240M"}
    assert bench.run([bench.tenant(0, big(12), environment=limited)]).errors == ()
    bench.start_mps()
    assert refused(bench.run([bench.tenant(0, big(12), environment=limited)])).endswith(
        "the MPS limit is 10240 MiB"
    )
    assert bench.run([bench.tenant(0, big(10), environment=limited)]).errors == ()


def test_a_device_that_is_not_there_is_refused_in_the_drivers_words(bench):
    bench.cut(19)
    for device in (GPU, "MIG-invented"):
        assert refused(bench.run([bench.tenant(0, device=device)])) == "job 0: exception: CUDA_ERROR_NO_DEVICE"


def test_what_a_killed_runner_left_is_taken_off_the_board(bench):
    bench.launcher.start(bench.tenant(0))
    assert len(bench.board.state.clients) == 1
    SimulatedLauncher(bench.board).clean_up()
    assert bench.board.state.clients == []


def test_a_step_costs_in_proportion_to_its_batch(bench):
    workload = bench.tenant(0).workload
    assert step_cost(workload, {"batch_size": 8}).gpu_s == pytest.approx(0.1)
    assert step_cost(workload, {"batch_size": 16}).gpu_s == pytest.approx(0.2)
    assert step_cost(workload, {"batch_size": 16}).host_s == 0.004
    assert bench.mean_step_s([bench.tenant(0, batch_size=16)]) == pytest.approx(0.2, rel=0.03)


def test_other_boards_go_faster_or_slower_and_say_that_nobody_checked(tmp_path):
    assert speed("a100-80gb") == 1
    assert speed("h100-80gb") == pytest.approx((989 / 312 * 3350 / 2039) ** 0.5)
    step_s = Bench(tmp_path, "h100-80gb").mean_step_s(Bench(tmp_path, "h100-80gb").tenants(1))
    assert step_s == pytest.approx(0.1 / speed("h100-80gb"), rel=0.03)
    assert "5.2 %" in validation("a100-80gb")
    assert {validation(model) for model in MODELS if model != "a100-80gb"} == {None}
    assert speed("a30-24gb") < 1 < speed("h200-141gb")


# The sampler


@pytest.fixture
def watched(bench):
    def watch(tenants, timing=TIMING):
        with SimulatedSampler(bench.board).watch() as watch:
            result = bench.run_without_restart(tenants, timing)
        return result, watch.result()

    bench.run_without_restart = lambda tenants, timing: co_run(
        bench.launcher, tenants, timing, bench.board.clock, lambda _: ()
    )
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
    waiting = MIXED.model_copy(update={"host_ms": 400, "step_cv": 0})
    result, telemetry = watched(bench.tenants(1, profile=waiting))
    during = telemetry.samples[telemetry.samples["time_s"].between(result.window.start_s, result.window.stop_s)]
    assert set(during["utilization_gpu_pct"]) == {25}


def test_utilisation_under_mig_is_missing_with_a_reason(watched, bench):
    (instance,) = bench.cut(0)
    _, telemetry = watched([bench.tenant(0, device=instance)])
    assert telemetry.samples["utilization_gpu_pct"].isna().all()
    assert telemetry.reasons["utilization_gpu_pct"].startswith("[N/A]: ")
    assert telemetry.samples["power_w"].notna().all()


def test_each_watch_begins_a_new_time(watched, bench):
    _, first = watched(bench.tenants(1))
    _, second = watched(bench.tenants(1))
    assert first.samples["time_s"].tolist() == second.samples["time_s"].tolist()
    assert first.energy.equals(second.energy)


# The machine


@pytest.fixture
def state_root(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_STATE_DIR", str(tmp_path / "state"))


def test_a_simulated_device_says_what_it_is(state_root):
    device = machine.simulated_device(None)
    assert (device.kind, device.simulated, device.name) == ("gpu", True, "SIMULATED NVIDIA A100-SXM4-80GB")
    assert device.memory_total_mib == 81920
    assert machine.model_of(device) == "a100-80gb"
    assert machine.simulated_device("a100-80gb") == device  # the same GPU, every time
    assert machine.simulated_device("h100-80gb").uuid != device.uuid
    folder = device.environment["PATH"].split(os.pathsep)[0]
    assert {path.name for path in Path(folder).iterdir()} == {"nvidia-smi", "nvidia-cuda-mps-control"}


def test_its_state_outlives_the_process_that_made_it(state_root):
    device = machine.simulated_device("a30-24gb")
    with updated(machine.board_of(device).state_file) as state:
        state.compute_mode = "Prohibited"
    machine.simulated_device("a30-24gb")
    assert machine.board_of(device).state.compute_mode == "Prohibited"


def test_an_unknown_model_is_refused_with_the_nearest(state_root):
    with pytest.raises(
        SetupError, match=r"simulated:a100-80g: no such model; did you mean 'a100-80gb'\?; known: "
    ):
        machine.simulated_device("a100-80g")


def test_every_board_has_a_speed():
    assert {"a100-80gb", "rtx-4090"} <= set(MODELS)
    assert all(0.1 < speed(model) < 10 for model in MODELS)


def test_an_rtx_4090_has_no_mig(tmp_path):
    assert MODELS["rtx-4090"].profiles == ()
    assert nvidia_smi.main(["-mig", "1"], str(Bench(tmp_path, "rtx-4090").state_file)) != 0
    assert not DriverState.load(tmp_path / "state.json").mig_enabled


def test_virtual_time_passes_only_by_sleeping():
    clock = VirtualClock()
    clock.sleep(3600)
    clock.sleep(0.5)
    assert clock.monotonic_s() == 3600.5
    clock.restart()
    assert clock.monotonic_s() == 0
