"""Slowdown, tails, makespan, energy and cost of runs whose rates are known, so that each number is arithmetic."""

from pathlib import Path
from typing import Any

import pytest
from synthetic import DEVICE, PLAN, PROGRESS, SOLO, Recipe, make_run

from bench.analysis.levels import Level
from bench.analysis.summary import Comparison, analyse
from bench.plan.schedule import Role, Trial

EQUAL = """
modes: [time-slicing, mps]
mixes: {replicas: [{workload: bert-base-batch-inference, count: 4}]}
blocks: 6
"""
PRICED = "price: {per_hour: 7.2, currency: EUR, source: our own cluster, date: 2026-01-31}\n"
POWER_W, PEAK_GIB = 300.0, 5000 / 1024


def run(tmp_path: Path, plan: str = PLAN, **recipe: Any) -> Comparison:
    return analyse(make_run(tmp_path, Recipe(plan_text=plan, **recipe)))


def level(comparison: Comparison, metric: str, mode: str, job: str = "") -> Level:
    (found,) = [each for each in comparison.levels if (each.metric, each.mode, each.job) == (metric, mode, job)]
    return found


def test_slowdown_and_inflation_are_against_the_same_job_alone(tmp_path: Path) -> None:
    found = run(tmp_path)
    job = "resnet50-training"
    assert level(found, "slowdown", "mps", job).value == pytest.approx(1 / PROGRESS["mps"], rel=1e-3)
    assert level(found, "slowdown", "exclusive", job).value == pytest.approx(2)
    for metric in ("median_inflation", "p99_inflation"):
        assert level(found, metric, "mps", job).value == pytest.approx(1 / PROGRESS["mps"], rel=1e-3)
        assert level(found, metric, "exclusive", job).value == pytest.approx(1)
    assert level(found, "tail_amplification", "mps", job).value == pytest.approx(1, rel=1e-3)


def test_two_equal_jobs_that_keep_seven_tenths_gain_two_fifths(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert level(found, "makespan_gain", "mps").value == pytest.approx(2 * PROGRESS["mps"], rel=1e-3)
    assert level(found, "makespan_gain", "exclusive").value == pytest.approx(1)


def test_the_slowest_job_decides_when_a_mix_ends(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        solo = SOLO[trial.mix.jobs[slot].workload]
        return solo if trial.role is not Role.MIX else solo * (0.9, 0.3)[slot]

    found = run(tmp_path, rate=rate)
    assert level(found, "makespan_gain", "mps").value == pytest.approx(0.6)


def test_energy_delay_product_is_of_one_solo_second_of_work(tmp_path: Path) -> None:
    found = run(tmp_path)
    stp = 2 * PROGRESS["mps"]
    assert level(found, "edp", "mps").value == pytest.approx(POWER_W / stp**2, rel=1e-3)
    assert level(found, "edp", "exclusive").value == pytest.approx(POWER_W)


def test_energy_per_unit_is_told_of_equal_jobs_only(tmp_path: Path) -> None:
    job = "bert-base-batch-inference"
    equal = level(run(tmp_path / "equal", EQUAL), "energy_per_unit", "mps", job)
    assert (equal.value, equal.unit) == (
        pytest.approx(POWER_W / (4 * PROGRESS["mps"] * SOLO[job]), rel=1e-3), "J/sequences",
    )  # fmt: skip
    unlike = level(run(tmp_path / "unlike"), "energy_per_unit", "mps", "resnet50-training")
    assert unlike.value is None
    assert "not split" in str(unlike.reason)


def test_cost_follows_price_and_stp(tmp_path: Path) -> None:
    found = level(run(tmp_path, PRICED + PLAN), "cost_per_million", "mps", "resnet50-training")
    assert found.unit == "EUR/1e6 images"
    assert found.value == pytest.approx(7.2 / 3600 / (2 * PROGRESS["mps"] * 1000) * 1e6, rel=1e-3)


def test_the_list_price_of_a_known_device_is_used_with_its_source(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert found.price is not None
    assert found.price.source.startswith("AWS")
    assert level(found, "cost_per_million", "mps", "resnet50-training").unit == "USD/1e6 images"


@pytest.mark.parametrize("device", [{**DEVICE, "name": "NVIDIA X9"}, {**DEVICE, "found": "a MIG slice"}])
def test_without_a_price_there_is_no_cost_and_a_reason(tmp_path: Path, device: dict[str, Any]) -> None:
    found = level(run(tmp_path, device=device), "cost_per_million", "mps", "resnet50-training")
    assert found.value is None
    assert "no price is known" in str(found.reason)


def test_throughput_per_gib_of_a_turn_is_that_of_the_job_alone(tmp_path: Path) -> None:
    found = run(tmp_path)
    job = "resnet50-training"
    assert level(found, "rate_per_gib", "exclusive", job).value == pytest.approx(1000 / PEAK_GIB)
    assert level(found, "rate_per_gib", "mps", job).value == pytest.approx(
        1000 * PROGRESS["mps"] / PEAK_GIB, rel=1e-3
    )


def test_a_starved_job_has_no_finite_slowdown_and_the_mix_no_gain(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        solo = SOLO[trial.mix.jobs[slot].workload]
        return solo if trial.role is not Role.MIX else solo * (0.9, 0.0)[slot]

    found = run(tmp_path, rate=rate)
    for quantity in (("slowdown", "mps", "bert-base-training"), ("makespan_gain", "mps")):
        starved = level(found, *quantity)
        assert starved.value is None
        assert "starved in 6 of 6 blocks" in str(starved.reason)


def test_missing_power_is_no_energy_and_says_why(tmp_path: Path) -> None:
    found = level(run(tmp_path, telemetry=False), "edp", "mps")
    assert (found.value, found.reason) == (None, "no telemetry was recorded")
