"""The co-location law against numbers worked out by hand, and against published measurements."""

import csv
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import nnls

from bench.simulator.law import Cost, concurrent, time_sliced

SHARED = Path(os.environ.get("BENCH_SHARED", Path(__file__).parents[3] / "shared"))
PARVAGPU = SHARED / "reference" / "published" / "parvagpu_a100_80gb.csv"
GPU_BOUND = Cost(host_s=0.0, fixed_s=2.0, scaling_s=8.0)
HOST_BOUND = Cost(host_s=20.0, fixed_s=2.0, scaling_s=8.0)


def test_alone_host_and_gpu_overlap():
    assert (GPU_BOUND.gpu_s, GPU_BOUND.alone_s) == (10, 10)
    assert (HOST_BOUND.gpu_s, HOST_BOUND.alone_s) == (10, 20)
    assert time_sliced([GPU_BOUND]) == [10]
    assert time_sliced([HOST_BOUND]) == [20]
    assert concurrent([GPU_BOUND], [1]) == [10]


def test_only_what_scales_suffers_from_a_smaller_share():
    assert GPU_BOUND.on_share(4).alone_s == 2 + 8 * 4
    assert HOST_BOUND.on_share(2).alone_s == 20
    assert GPU_BOUND.sped_up(2).alone_s == 5
    assert HOST_BOUND.sped_up(2).alone_s == 20


@pytest.mark.parametrize("n", [2, 3, 7])
def test_time_slices_of_busy_jobs_are_turns_plus_a_tenth_for_switching(n):
    assert time_sliced([GPU_BOUND] * n) == pytest.approx([10 * n * 1.1] * n)


def test_a_context_without_work_gives_its_turn_away():
    """Half idle jobs: g = 10 (1 + r)(1 + 0.1 r) with r = g / 20 has its fixed point at g = 20, where r = 1."""
    assert time_sliced([HOST_BOUND] * 2) == pytest.approx([22, 22])
    idle = Cost(host_s=1000.0, fixed_s=1.0, scaling_s=0.0)  # busy for 0.23 % of the time beside a busy one
    busy, light = time_sliced([GPU_BOUND, idle])
    assert light == pytest.approx(1000)
    assert busy == pytest.approx(10 * (1 + 2.2 / 1000) * (1 + 0.1 * 2.2 / 1000))


@pytest.mark.parametrize("n", [2, 3, 7])
def test_mps_splits_what_scales_and_keeps_the_rest(n):
    expected = (2 + 8 * n) * (1 + 0.005 * (n - 1))
    assert concurrent([GPU_BOUND] * n, [1.0] * n) == pytest.approx([expected] * n)


def test_caps_that_fit_together_keep_clients_apart():
    light = Cost(host_s=1000.0, fixed_s=0.0, scaling_s=1.0)
    capped, _ = concurrent([GPU_BOUND, light], [0.5, 0.5])
    assert capped == pytest.approx((2 + 8 * 2) * (1 + 0.005 * 2 / 1000))  # its half, though the other is idle
    large, *small = concurrent([GPU_BOUND] * 3, [0.5, 0.25, 0.25])
    assert [large, *small] == pytest.approx([18 * 1.01, 34 * 1.01, 34 * 1.01])
    free, _ = concurrent([GPU_BOUND, light], [1.0, 1.0])
    assert free == pytest.approx(10, rel=0.01)


def test_caps_that_do_not_fit_together_are_limits_and_no_more():
    """At 60 % each, two busy jobs still halve the device; one beside an idle job is held at its 60 %."""
    assert concurrent([GPU_BOUND] * 2, [0.6, 0.6]) == pytest.approx([18 * 1.005] * 2)
    idle = Cost(host_s=1e9, fixed_s=0.0, scaling_s=1.0)
    assert concurrent([GPU_BOUND, idle], [0.6, 0.6])[0] == pytest.approx(2 + 8 / 0.6)


def test_sharing_is_never_faster_than_being_alone():
    for n in range(1, 9):
        for share in (time_sliced([HOST_BOUND] * n), concurrent([HOST_BOUND] * n, [1.0] * n)):
            assert min(share) >= HOST_BOUND.alone_s


# ParvaGPU's profile (SC'24, MunQ-Lee/ParvaGPU_SC24 prof_data): solo runs fit the law, co-runs are predicted.


@pytest.fixture(scope="module")
def parvagpu():
    """Step times in seconds by (model, batch size), then by (slices, processes)."""
    if not PARVAGPU.exists():
        pytest.skip(f"{PARVAGPU} is not here")
    table = defaultdict(dict)
    with PARVAGPU.open() as file:
        for row in csv.DictReader(file):
            batch, rate = float(row["batch_size"]), float(row["throughput_per_s"])  # rate: of each process
            if rate > 0:  # 0: it did not run
                table[row["model"], batch][int(row["mig_slices_g"]), int(row["mps_processes"])] = batch / rate
    return table


def shortest_step(table, model):
    return min(times[7, 1] for (name, _), times in table.items() if name == model and (7, 1) in times)


def fitted(points, host_s):
    """Fit A and B to solo steps (share n, seconds), none negative, each point with the same relative weight."""
    n, seconds = np.array(points).T
    (fixed_s, scaling_s), _ = nnls(np.column_stack([1 / seconds, n / seconds]), np.ones(len(n)))
    return Cost(host_s, fixed_s, scaling_s)


def test_equal_jobs_under_mps_are_predicted_from_solo_runs(parvagpu):
    errors = []
    for (model, _), times in parvagpu.items():
        solo = [(7 / slices, seconds) for (slices, processes), seconds in times.items() if processes == 1]
        if len(solo) < 2 or (7, 1) not in times:
            continue
        cost = fitted(solo, shortest_step(parvagpu, model))
        for n in range(2, 6):
            if (7, n) in times:
                errors.append(concurrent([cost] * n, [1.0] * n)[0] / times[7, n] - 1)
    assert len(errors) > 300
    assert np.mean(np.abs(errors)) <= 0.08
    assert np.quantile(np.abs(errors), 0.9) <= 0.15


def test_slices_between_are_predicted_from_the_whole_and_the_smallest(parvagpu):
    errors = []
    for (model, _), times in parvagpu.items():
        if (7, 1) not in times or (1, 1) not in times:
            continue
        cost = two_points(times[7, 1], times[1, 1], shortest_step(parvagpu, model))
        for slices in (2, 3, 4):
            if (slices, 1) in times:
                errors.append(cost.on_share(7 / slices).alone_s / times[slices, 1] - 1)
    assert len(errors) > 150
    assert np.mean(np.abs(errors)) <= 0.08
    assert np.quantile(np.abs(errors), 0.9) <= 0.15


def two_points(whole_s, seventh_s, host_s):
    """Solve for A and B; where the whole device is bound by the host it says nothing of them, and A is 15 %."""
    scaling_s = (seventh_s - whole_s) / 6
    if whole_s <= 1.1 * host_s:
        scaling_s = seventh_s / (7 + 0.15 / 0.85)
    return Cost(host_s, max(0.0, seventh_s - 7 * scaling_s), scaling_s)
