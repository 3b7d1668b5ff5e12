"""From records on disk to contrasts: every expected number follows from the rates that were put in."""

import math
from pathlib import Path

import numpy as np
import pytest
from synthetic import PLAN, PROGRESS, SOLO, Recipe, make_run, usual_rate, wobble

from bench.analysis.contrasts import Contrast
from bench.analysis.summary import Comparison, analyse
from bench.plan.schedule import Role, Trial
from bench.stats.ratio import one_sample_log_ratio, paired_log_ratio
from bench.store.record import Status

BLOCKS = range(1, 7)
SHARES = PLAN.replace("[time-slicing, mps]", "[mps-equal]")


def find(
    comparison: Comparison, metric: str, mode: str, baseline: str, job: str = "", trials: str = "all"
) -> Contrast:
    (row,) = [
        row
        for row in comparison.contrasts
        if (row.metric, row.mode, row.baseline, row.job, row.trials) == (metric, mode, baseline, job, trials)
    ]
    return row


def stp_by_block(mode: str) -> list[float]:
    period = 2 if mode == "time-slicing" else 3
    factors = {2: (1 / 1.02, 1.02), 3: (1.0, 1.01, 1 / 1.01)}[period]
    return [2 * PROGRESS[mode] * factors[block % period] for block in BLOCKS]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return analyse(make_run(tmp_path_factory.mktemp("usual")))


def test_stp_against_taking_turns_is_the_one_sample_interval_on_log_ratios(comparison: Comparison) -> None:
    row = find(comparison, "stp", "mps", "exclusive")
    expected = one_sample_log_ratio(stp_by_block("mps"), 1.0)
    assert (row.value, row.baseline_value) == (pytest.approx(1.4), 1.0)
    assert (row.ratio, row.ci_low, row.ci_high) == pytest.approx((expected.ratio, expected.low, expected.high))
    assert (row.n_blocks, row.n_planned, row.family, row.verdict) == (6, 6, "primary", "better")


def test_modes_are_paired_by_block(comparison: Comparison) -> None:
    row = find(comparison, "stp", "mps", "time-slicing")
    expected = paired_log_ratio(stp_by_block("mps"), stp_by_block("time-slicing"))
    assert (row.ratio, row.ci_low, row.ci_high) == pytest.approx((expected.ratio, expected.low, expected.high))
    assert row.value is not None
    assert row.baseline_value is not None
    assert row.ratio == pytest.approx(row.value / row.baseline_value)


def test_holm_covers_the_primary_family_alone(comparison: Comparison) -> None:
    primary = [row for row in comparison.contrasts if row.family == "primary"]
    assert [(row.mode, row.baseline) for row in primary] == [
        ("time-slicing", "exclusive"),
        ("mps", "exclusive"),
        ("mps", "time-slicing"),
    ]
    p = sorted(row.p_value for row in primary if row.p_value is not None)
    smallest = min(primary, key=lambda row: row.p_value or 1)
    assert smallest.p_adjusted == pytest.approx(3 * p[0])


def test_turnaround_fairness_energy_and_rates_follow_from_the_progress(comparison: Comparison) -> None:
    assert find(comparison, "antt", "mps", "exclusive").value == pytest.approx(1 / 0.7)
    assert find(comparison, "antt", "mps", "exclusive").baseline_value == 2
    assert find(comparison, "smallest_progress", "mps", "exclusive").baseline_value == 0.5
    assert find(comparison, "jain", "mps", "exclusive").value == pytest.approx(1)
    assert find(comparison, "energy_per_solo_second", "mps", "exclusive").value == pytest.approx(300 / 1.4)
    rate = find(comparison, "rate", "mps", "exclusive", "bert-base-training")
    assert (rate.value, rate.baseline_value) == (pytest.approx(140), pytest.approx(100))
    assert rate.unit == "sequences/s"
    median = find(comparison, "latency_p50", "mps", "time-slicing", "resnet50-training")
    assert median.verdict == "better"
    assert median.better_direction == "lower"


def test_a_lower_stp_is_worse_and_a_lower_turnaround_better(comparison: Comparison) -> None:
    assert find(comparison, "stp", "time-slicing", "exclusive").verdict == "worse"
    assert find(comparison, "antt", "mps", "time-slicing").verdict == "better"


def test_slowdown_splits_into_partition_and_interference(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        solo = SOLO[trial.mix.jobs[slot].workload]
        return solo * {Role.SOLO: 1.0, Role.SHARE: 0.5}.get(trial.role, 0.4)

    comparison = analyse(make_run(tmp_path, Recipe(plan_text=SHARES, rate=rate)))
    shared = [cell for cell in comparison.cells if cell.mode == "mps-equal"]
    assert len(shared) == 6
    for job in (job for cell in shared for job in cell.jobs):
        assert job.share == "50%"
        assert job.split is not None
        assert (job.split.partition, job.split.interference) == (pytest.approx(2), pytest.approx(1.25))


def test_a_missing_solo_trial_costs_its_block_and_says_so(tmp_path: Path) -> None:
    def status(trial: Trial) -> tuple[Status, str | None]:
        lost = trial.role is Role.SOLO and trial.block == 2 and trial.mix.name == "resnet50-training"
        return (Status.FAILED, "crashed") if lost else (Status.OK, None)

    comparison = analyse(make_run(tmp_path, Recipe(status=status)))
    row = find(comparison, "stp", "mps", "exclusive")
    assert (row.n_blocks, row.baseline_failures, row.verdict) == (5, 1, "not enough data")
    (cell,) = [cell for cell in comparison.cells if (cell.mode, cell.block) == ("mps", 2)]
    assert "resnet50-training has no ok solo trial" in str(cell.reading("stp").reason)
    assert find(comparison, "rate", "mps", "time-slicing", "bert-base-training").n_blocks == 6


def test_as_found_is_held_against_solo_trials_of_its_own(tmp_path: Path) -> None:
    def status(trial: Trial) -> tuple[Status, str | None]:
        lost = trial.role is Role.SOLO and trial.block == 2 and trial.mix.name == "resnet50-training"
        return (Status.FAILED, "crashed") if lost else (Status.OK, None)

    plan = PLAN.replace("[time-slicing, mps]", "[as-found]")
    comparison = analyse(make_run(tmp_path, Recipe(plan_text=plan, status=status)))
    row = find(comparison, "stp", "as-found", "exclusive")
    assert (row.n_blocks, row.failures, row.baseline_failures) == (5, 0, 1)
    assert row.value == pytest.approx(2 * PROGRESS["as-found"], rel=0.01)
    assert {cell.mode for cell in comparison.cells} == {"as-found", "exclusive"}


def test_a_mode_that_fails_too_often_cannot_win(tmp_path: Path) -> None:
    def status(trial: Trial) -> tuple[Status, str | None]:
        lost = trial.mode.mode == "mps" and trial.block in (3, 6, 9)
        return (Status.FAILED, "OutOfMemoryError") if lost else (Status.OK, None)

    comparison = analyse(make_run(tmp_path, Recipe(plan_text=PLAN.replace("6", "10"), status=status)))
    row = find(comparison, "stp", "mps", "exclusive")
    assert (row.n_blocks, row.failures, row.n_attempted) == (7, 3, 10)
    assert row.verdict == "fails too often"
    assert row.ratio is not None
    assert row.ratio > 1.3


def test_a_starved_job_forbids_the_ratio_and_is_not_left_out(tmp_path: Path) -> None:
    def rate(trial: Trial, slot: int) -> float:
        starved = trial.role is Role.MIX and trial.mode.mode == "mps" and trial.block == 1 and slot == 1
        return 0.0 if starved else usual_rate(trial, slot)

    comparison = analyse(make_run(tmp_path, Recipe(rate=rate)))
    row = find(comparison, "antt", "mps", "exclusive")
    assert (row.ratio, row.verdict) == (None, "not enough data")
    assert "starved in 1 of 6 blocks" in str(row.reason)
    assert find(comparison, "stp", "mps", "exclusive").n_blocks == 6


def test_equal_jobs_are_one_job_whose_latencies_are_pooled_within_the_trial(tmp_path: Path) -> None:
    plan = PLAN.replace("[resnet50-training, bert-base-training]", "[{workload: bert-base-training, count: 4}]")

    def rate(trial: Trial, slot: int) -> float:
        return 200.0 if trial.role is Role.SOLO else 40.0 * (slot + 1) * wobble(trial)

    comparison = analyse(make_run(tmp_path, Recipe(plan_text=plan, rate=rate)))
    row = find(comparison, "rate", "mps", "exclusive", "bert-base-training")
    assert (row.value, row.baseline_value) == (pytest.approx(100), pytest.approx(50))
    assert find(comparison, "stp", "mps", "exclusive").value == pytest.approx(2)
    assert find(comparison, "smallest_progress", "mps", "exclusive").value == pytest.approx(0.2)
    measured = next(trial for trial in comparison.trials if trial.record.role is Role.MIX)
    assert measured.jobs[0].latency.count == sum(tenant.latency.count for tenant in measured.tenants)


def test_flagged_trials_are_shown_with_and_without(tmp_path: Path) -> None:
    def flags(trial: Trial) -> tuple[str, ...]:
        return ("software power cap",) if trial.mode.mode == "mps" and trial.block == 4 else ()

    comparison = analyse(make_run(tmp_path, Recipe(flags=flags)))
    assert find(comparison, "stp", "mps", "exclusive").n_blocks == 6
    without = find(comparison, "stp", "mps", "exclusive", trials="unflagged")
    assert without.n_blocks == 5
    stp = [value for block, value in zip(BLOCKS, stp_by_block("mps"), strict=True) if block != 4]
    assert without.value == pytest.approx(math.exp(np.mean(np.log(stp))))


def test_trials_that_drift_are_flagged_and_left_out_of_the_second_answer(tmp_path: Path) -> None:
    def drift(trial: Trial) -> float:
        return 0.02 if (trial.block, trial.mode.mode) == (2, "mps") else 0.0

    run = make_run(tmp_path, Recipe(drift=drift))
    before = (run.trials_folder / "b02-mps-pair" / "trial.json").read_bytes()
    comparison = analyse(run)
    assert comparison.flagged == {"b02-mps-pair": ("drift",)}
    assert any("drifts by +1" in remark for remark in comparison.measured["b02-mps-pair"].remarks)
    assert find(comparison, "stp", "mps", "exclusive").n_blocks == 6
    assert find(comparison, "stp", "mps", "exclusive", trials="unflagged").n_blocks == 5
    assert (run.trials_folder / "b02-mps-pair" / "trial.json").read_bytes() == before


def test_trials_whose_jobs_wait_for_data_are_flagged_with_the_share(tmp_path: Path) -> None:
    def waiting(trial: Trial) -> float:
        return 0.2 if trial.block == 2 and trial.mode.label == "mps" else 0.01

    comparison = analyse(make_run(tmp_path, Recipe(waiting=waiting)))
    assert comparison.flagged == {"b02-mps-pair": ("loader_wait",)}
    (remark, _) = comparison.measured["b02-mps-pair"].remarks
    assert remark == "resnet50-training: waited for data 20.0 % of its time, more than 5 %"
    assert find(comparison, "stp", "mps", "exclusive").n_blocks == 6
    assert find(comparison, "stp", "mps", "exclusive", trials="unflagged").n_blocks == 5


def test_no_unflagged_rows_without_a_flag(comparison: Comparison) -> None:
    assert {row.trials for row in comparison.contrasts} == {"all"}


def test_noise_alone_makes_no_mode_less_isolating_than_taking_turns(tmp_path: Path) -> None:
    """Slices that disturb nobody: the worst of four noisy jobs is below 1 in every block, which is no finding."""

    def rate(trial: Trial, slot: int) -> float:
        if trial.role is not Role.MIX:
            return usual_rate(trial, slot)
        noise = np.random.default_rng([trial.seed, slot]).lognormal(0, 0.01)
        return usual_rate(trial, slot) / wobble(trial) * noise

    four = PLAN.replace("time-slicing, mps", "mps, mig").replace("6", "10")
    four = four.replace("[resnet50-training, bert-base-training]", str(["bert-base-training"] * 4))
    comparison = analyse(make_run(tmp_path, Recipe(plan_text=four, rate=rate)))
    slices = find(comparison, "isolation", "mig", "exclusive")
    assert slices.ci_high is not None
    assert slices.ci_high < 1
    assert slices.verdict == "no difference shown"
    assert slices.reason is not None
    assert "noise" in slices.reason
    assert find(comparison, "isolation", "mps", "exclusive").verdict == "worse"
