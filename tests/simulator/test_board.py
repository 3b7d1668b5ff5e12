"""Simulated jobs end to end: the real co-run, the launcher, the board's law and the stand-in driver's state."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from bench.launch.contract import EVENTS_FILE
from bench.simulator.board import step_cost, step_noise
from bench.simulator.boards import speed, validation
from bench.simulator.driver.models import MODELS
from bench.simulator.driver.state import Daemon, Partition, updated
from bench.simulator.launcher import STARTUP_S, SimulatedLauncher

UNDER_MPS = {"CUDA_MPS_PIPE_DIRECTORY": "/run/bench/pipe"}  # where `bench.start_mps` has its daemon

# Mean latency in seconds by number of clients; nebuly-ai/nos, demos/gpu-sharing-comparison, A100-PCIe-80GB.
NOS = {
    "mig": {1: 0.34237, 3: 0.34131, 5: 0.34533, 7: 0.34425},
    "mps": {1: 0.08796, 3: 0.16400, 5: 0.24086, 7: 0.31982},
    "time-slicing": {1: 0.08815, 3: 0.29314, 5: 0.48895, 7: 0.68488},
}
# Its job from two of these numbers, alone on 108 SMs (88.0 ms) and on 14 (342.4 ms): A = 50.1, B = 37.9 ms.
YOLOS = {"host_ms": 0, "fixed_ms": 50.1, "scaling_ms": 37.9, "step_cv": 0}


def on_the_nos_bench(bench, mode, n):
    """Set the driver up as their demo did, and return the mean latency of n clients."""
    if mode == "mig":
        return bench.mean_step_s(
            [bench.tenant(i, uuid, **YOLOS) for i, uuid in enumerate(bench.cut(*[19] * 7)[:n])]
        )
    if mode == "mps":
        bench.start_mps()
    return bench.mean_step_s(bench.tenants(n, environment=UNDER_MPS if mode == "mps" else {}, **YOLOS))


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


def test_the_same_seed_says_the_same_byte_for_byte(make_bench):
    said = []
    for bench in (make_bench(), make_bench()):
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


def test_a_static_partition_is_all_that_a_job_sees_and_nobody_else_slows_it(bench):
    bench.start_mps(static=True, partitions=(Partition("GPU/7", 7), Partition("GPU/6", 6)))
    environments = [{**UNDER_MPS, "CUDA_MPS_SM_PARTITION": name} for name in ("GPU/7", "GPU/6")]
    done = bench.run([bench.tenant(number, environment=each) for number, each in enumerate(environments)])
    assert [outcome.events.identity["sm_count"] for outcome in done.outcomes] == [28, 24]
    steps = [float(np.mean(outcome.events.steps.duration_s)) for outcome in done.outcomes]
    alone = [0.020 + 0.080 * 108 / sms for sms in (28, 24)]
    assert steps == pytest.approx([each * 1.005 for each in alone], rel=0.03)


@pytest.mark.parametrize("environment", [{}, {"CUDA_MPS_SM_PARTITION": "GPU/other"}])
def test_under_static_partitions_a_job_without_one_is_refused(bench, environment):
    bench.start_mps(static=True, partitions=(Partition("GPU/7", 7),))
    error = refused(bench.run([bench.tenant(0, environment={**UNDER_MPS, **environment})]))
    assert "CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION" in str(error)


def test_clients_of_a_daemon_in_an_instance_share_it_by_the_law_of_mps(bench):
    """Two jobs in one half of the GPU run at once; beside MPS they would take turns there."""
    half, _ = bench.cut(9, 9)
    with updated(bench.state_file) as state:
        state.daemons.append(Daemon(state.take_pid(), UNDER_MPS["CUDA_MPS_PIPE_DIRECTORY"], half))
    served = bench.mean_step_s(bench.tenants(2, device=half, environment=UNDER_MPS))
    in_turn = bench.mean_step_s(bench.tenants(2, device=half))
    assert served == pytest.approx((0.020 + 0.080 * 108 / 42 * 2) * 1.005, rel=0.03)
    assert in_turn == pytest.approx((0.020 + 0.080 * 108 / 42) * 2 * 1.1, rel=0.03)


def test_instances_do_not_disturb_each_other_and_jobs_in_one_do(bench):
    large, small = bench.cut(9, 14)  # 3g.40gb and 2g.20gb: 42 and 28 SMs
    apart = bench.run([bench.tenant(0, device=large), bench.tenant(1, device=small)])
    means = [np.mean(outcome.events.steps.duration_s) for outcome in apart.outcomes]
    assert means == pytest.approx([0.02 + 0.08 * 108 / 42, 0.02 + 0.08 * 108 / 28], rel=0.03)
    assert [outcome.events.identity["sm_count"] for outcome in apart.outcomes] == [42, 28]
    together = bench.mean_step_s([bench.tenant(0, device=large), bench.tenant(1, device=large)])
    assert together == pytest.approx(means[0] * 2 * 1.1, rel=0.03)


def refused(result):
    (error,) = result.errors
    assert result.window is None
    assert result.outcomes[-1].exit_status == 1
    return error


def test_jobs_that_do_not_fit_the_gpu_together_run_out_of_memory(bench):
    assert bench.run(bench.tenants(2, gpu_memory_gb=41)).errors == ()
    error = refused(bench.run(bench.tenants(2, gpu_memory_gb=43)))
    assert error.startswith("job 1: oom: CUDA out of memory: ")
    assert error.endswith("needed on a device of 81051 MiB")
    assert bench.board.state.clients == []


def test_a_job_that_does_not_fit_its_instance_runs_out_of_memory(bench):
    instance, *_ = bench.cut(*[19] * 7)
    assert bench.run([bench.tenant(0, instance, gpu_memory_gb=9)]).errors == ()
    assert refused(bench.run([bench.tenant(0, instance, gpu_memory_gb=10)])).endswith("on a device of 9728 MiB")


def allocatable_mib(bench, tenants):
    return [outcome.events.identity["allocatable_mib"] for outcome in bench.run(tenants).outcomes]


def test_a_tenant_that_is_asked_finds_its_limit_by_trying(bench):
    bench.start_mps()
    limited = {**UNDER_MPS, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=10240M", "BENCH_PROBE_MEMORY": "1"}
    first, second = allocatable_mib(bench, bench.tenants(2, environment=limited))
    assert first == second == 9792  # whole steps of what a context of 400 MiB leaves
    unasked = {**UNDER_MPS, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=10240M"}
    assert allocatable_mib(bench, bench.tenants(1, environment=unasked)) == [None]


def test_a_limit_that_nobody_keeps_is_found_out_by_trying(bench):
    limited = {**UNDER_MPS, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=10240M", "BENCH_PROBE_MEMORY": "1"}
    first, second = allocatable_mib(bench, bench.tenants(2, environment=limited))
    assert first > 80000
    assert 70000 < second < first  # what the first one took is gone


def test_an_instance_is_all_that_a_tenant_in_it_can_allocate(bench):
    large, small = bench.cut(9, 14)
    tenants = [bench.tenant(n, uuid, {"BENCH_PROBE_MEMORY": "1"}) for n, uuid in enumerate((large, small))]
    assert allocatable_mib(bench, tenants) == [39744, 19520]


def test_a_default_limit_of_the_daemon_holds_for_every_client(bench):
    bench.start_mps()
    with updated(bench.state_file) as state:
        (daemon,) = state.daemons
        state.replace_daemon(daemon, daemon.replace(memory_limit="10G"))
    assert refused(bench.run([bench.tenant(0, environment=UNDER_MPS, gpu_memory_gb=12)])).endswith(
        "the MPS limit is 10240 MiB"
    )


def test_a_memory_limit_holds_under_mps_only(bench):
    limited = {**UNDER_MPS, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=10240M"}
    assert bench.run([bench.tenant(0, environment=limited, gpu_memory_gb=12)]).errors == ()
    bench.start_mps()
    assert refused(bench.run([bench.tenant(0, environment=limited, gpu_memory_gb=12)])).endswith(
        "the MPS limit is 10240 MiB"
    )
    assert bench.run([bench.tenant(0, environment=limited, gpu_memory_gb=10)]).errors == ()


def test_a_device_that_is_not_there_is_refused_in_the_drivers_words(bench):
    bench.cut(19)
    for device in (bench.gpu, "MIG-invented"):
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
    assert step_cost(workload, {"intensity": 1.0}).alone_s == pytest.approx(0.1)
    assert step_cost(workload, {"intensity": 0.5}).alone_s == pytest.approx(0.2)
    assert step_cost(workload, {"intensity": 0.5}).gpu_s == pytest.approx(0.1)
    assert bench.mean_step_s([bench.tenant(0, batch_size=16)]) == pytest.approx(0.2, rel=0.03)


def test_other_boards_go_faster_or_slower_and_say_that_nobody_checked(make_bench):
    assert speed("a100-80gb") == 1
    assert speed("h100-80gb") == pytest.approx((989 / 312 * 3350 / 2039) ** 0.5)
    bench = make_bench("h100-80gb")
    step_s = bench.mean_step_s(bench.tenants(1))
    assert step_s == pytest.approx(0.1 / speed("h100-80gb"), rel=0.03)
    assert "5.2 %" in validation("a100-80gb")
    assert {validation(model) for model in MODELS if model != "a100-80gb"} == {None}
    assert speed("a30-24gb") < 1 < speed("h200-141gb")


def test_every_board_has_a_speed():
    assert {"a100-80gb", "rtx-4090"} <= set(MODELS)
    assert all(0.1 < speed(model) < 10 for model in MODELS)
